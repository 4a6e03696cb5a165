"""Starts `gst_server.py` under the system Python and makes the clips it serves; for tests and benchmarks.

Use: `with start({"/a": {"file": path, "video": "h264", "audio": "aac"}}) as port: ...`
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.peers.network import Neighbour

SYSTEM_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("gst_server.py")


@contextmanager
def start(
    mounts: dict[str, dict[str, str]],
    login: tuple[str, str] | None = None,
    tls: Path | None = None,
    where: Neighbour | None = None,
) -> Iterator[int]:
    """A running server for these mounts; gives its port, ends it on leaving. `tls`: certificate and key; `where`: on
    another machine, so to say."""
    wanted: dict[str, Any] = {"mounts": mounts, "tls": str(tls) if tls else None}
    if where is not None:
        wanted |= {"listen": where.address, "interface": where.interface}
    if login is not None:
        wanted["login"] = list(login)
    process = subprocess.Popen(
        [*(where.enter if where else ()), SYSTEM_PYTHON, str(_SERVER), json.dumps(wanted)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "GStreamer's RTSP server did not start: is gir1.2-gst-rtsp-server-1.0 installed?"
        yield int(json.loads(line)["port"])
    finally:
        process.communicate(timeout=20)


def make_clip(path: Path, video: str, audio: str | None, b_frames: int = 0, seconds: float = 3.0) -> Path:
    """A small clip: `video` libx264 or libx265, `audio` aac, pcm_mulaw or None. 25 pictures a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.gop_size = 25
        stream.options = {"preset": "veryfast", "bf": str(b_frames)}
        if video == "libx265":
            stream.options = {"preset": "veryfast", "x265-params": f"log-level=none:info=0:bframes={b_frames}"}
        sound = _add_sound(container, audio) if audio else None
        noise = np.random.default_rng(7)
        for number in range(round(seconds * 25)):
            picture = noise.integers(0, 255, (180, 320, 3), dtype=np.uint8)
            picture[:, (number * 8) % 320 :] //= 4
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
            if sound is not None:
                container.mux(sound.encode(_tone(sound, number)))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def _add_sound(container: Any, audio: str) -> Any:
    sound = container.add_stream(audio, rate=48000 if audio == "aac" else 8000)
    sound.layout = "mono"
    return sound


def _tone(sound: Any, number: int) -> Any:
    rate = sound.rate
    count = rate // 25
    wave = np.sin(np.arange(number * count, (number + 1) * count) * 2 * np.pi * 440 / rate)
    if sound.codec.name == "aac":
        frame = av.AudioFrame.from_ndarray(wave.astype(np.float32).reshape(1, -1), format="fltp", layout="mono")
    else:
        samples = (wave * 8000).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.rate = rate
    frame.pts = number * count
    return frame
