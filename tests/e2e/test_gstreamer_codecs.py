"""Cameras that are not ours send what cameras of other makes send: JPEG pictures, Opus, LATM, L16 and G.726 sound.

What is recorded equals what GStreamer played; what an MP4 can carry is in the export and read by FFmpeg, what it cannot
is named."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mediadb.read.reader import Reader
from mediadb.types import Sample, TrackConfig, TrackKind
from tests.e2e.harness import Server, run_mediadb, running, wait_until
from tests.e2e.test_gstreamer_cameras import played
from tests.peers.gstreamer import start

pytestmark = [pytest.mark.e2e, pytest.mark.gst]

SECONDS = 4
PLAYED = 0.9  # of a clip that surely comes: its goodbye may overtake the last packets
SIZE = (320, 184)
# name: (file, video encoder, audio encoder, rate, channels, mount)
CLIPS: dict[str, tuple[str, str, str | None, int, int, dict[str, str]]] = {
    "jpeg": ("jpeg.mov", "mjpeg", "pcm_s16be", 48_000, 2, {"video": "jpeg", "audio": "l16"}),
    "opus": ("opus.mp4", "libx264", "libopus", 48_000, 2, {"video": "h264", "audio": "opus"}),
    "latm": ("latm.mp4", "libx264", "aac", 44_100, 2, {"video": "h264", "audio": "latm"}),
    "adpcm": ("adpcm.mp4", "libx264", None, 0, 0, {"video": "h264"}),
}


def make(path: Path, video: str, audio: str | None, rate: int, channels: int) -> Path:
    """A clip of noise and a tone."""
    noise = np.random.default_rng(11)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"huffman": "default"} if video == "mjpeg" else {"preset": "veryfast", "bf": "0", "g": "25"}
        sound: Any = container.add_stream(audio, rate=rate) if audio else None
        if sound is not None:
            sound.layout = "stereo" if channels == 2 else "mono"
        for number in range(25 * SECONDS):
            picture = noise.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            picture[:, number * 3 :] //= 4
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if sound is not None:
                container.mux(sound.encode(tone(number, rate, channels, sound)))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def tone(number: int, rate: int, channels: int, sound: Any) -> av.AudioFrame:
    count = rate // 25
    wave = np.sin(np.arange(number * count, (number + 1) * count) * 2 * np.pi * 440 / rate) * 0.3
    if sound.codec_context.format.name == "fltp":
        data = np.repeat(wave.astype(np.float32)[np.newaxis, :], channels, axis=0)
    else:
        data = np.repeat((wave * 32767).astype(np.int16), channels)[np.newaxis, :]
    frame = av.AudioFrame.from_ndarray(data, format=sound.codec_context.format.name, layout=sound.layout.name)
    frame.rate, frame.pts = rate, number * count
    return frame


def g726(path: Path) -> bytes:
    """Writes raw G.726 at 32 kbit/s, first sample in the highest bits; gives what RFC 3551 makes of it."""
    context = av.CodecContext.create("g726", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = 8_000, "mono", "s16"
    context.options = {"code_size": "4"}
    wave = (np.sin(np.arange(8_000 * SECONDS) / 3) * 9_000).astype(np.int16)
    data = b""
    for at in range(0, len(wave), 160):
        frame = av.AudioFrame.from_ndarray(wave[np.newaxis, at : at + 160], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8_000, at
        data += b"".join(bytes(packet) for packet in context.encode(frame))
    path.write_bytes(data)
    return bytes(byte >> 4 | (byte & 15) << 4 for byte in data)


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(iter(getattr(container.streams, kind)))
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def decoded(path: Path, kind: str) -> list[Any]:
    with av.open(str(path)) as container:
        stream = next(iter(getattr(container.streams, kind)))
        return [frame.to_ndarray() for frame in container.decode(stream)]


def stored(server: Server, name: str, kind: TrackKind) -> tuple[TrackConfig, list[Sample]]:
    """All samples of a camera's track out of the files of its volume."""
    identity = uuid.UUID(CAMERAS[name])
    reader = Reader.open_offline(server.volume, "main", lambda: 4_000_000_000_000_000)
    try:
        (track,) = [t for t in reader.tracks() if t.spec.camera == identity and t.spec.kind is kind]
        chunks = [reader.read(ref) for ref in reader.chunks(track.spec.track, track.first_us, track.last_us)]
        return chunks[0].config, [sample for chunk in chunks for sample in chunk.samples]
    finally:
        reader.close()


CAMERAS: dict[str, str] = {}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, dict[str, Path], Path, bytes]:
    """(the server after its stop, clip files, folder of exports, raw G.726)."""
    folder = tmp_path_factory.mktemp("codecs")
    files = {name: make(folder / row[0], *row[1:5]) for name, row in CLIPS.items()}
    raw = g726(folder / "tone.g726")
    mounts: dict[str, dict[str, str]] = {
        f"/{name}": {"file": str(files[name]), **row[5]} for name, row in CLIPS.items()
    }
    mounts["/adpcm"]["g726"] = str(folder / "tone.g726")
    server = Server(folder)
    with running(server):
        with start(mounts) as port:
            for name in CLIPS:
                server.add(name, f"rtsp://127.0.0.1:{port}/{name}", user=False)
            server.start()
            wait_until(lambda: server.alive() and played(server) == set(CLIPS), 60, server.log)
            CAMERAS.update({name: item["id"] for name, item in server.cameras().items()})
            (folder / "still.jpg").write_bytes(server.get("/api/v1/cameras/jpeg/frames/now.jpg", raw=True))
            film = server.get("/api/v1/cameras/adpcm/media.json?start=-5m&end=now")
            (folder / "adpcm.json").write_text(json.dumps(film["left_out"]))
        assert server.stop() == 0, server.log()
    out = folder / "out"
    done = run_mediadb("export", str(server.volume), *CLIPS, "--start", "-10m", "--end", "now", "-o", str(out))
    assert done.returncode == 0, done.stderr
    return server, files, out, raw


Recorded = tuple[Server, dict[str, Path], Path, bytes]


def exported(recorded: Recorded, name: str) -> Path:
    (path,) = recorded[2].glob(f"{name}_*.mp4")
    return path


def test_jpeg_pictures_have_the_pixels_of_the_source(recorded: Recorded) -> None:
    wanted = decoded(recorded[1]["jpeg"], "video")[: round(PLAYED * 25 * SECONDS)]
    got = decoded(exported(recorded, "jpeg"), "video")
    assert len(got) >= len(wanted) > 20 * SECONDS
    assert all(np.array_equal(one, other) for one, other in zip(got, wanted, strict=False))
    config, samples = stored(recorded[0], "jpeg", TrackKind.VIDEO)
    assert (config.codec, config.width, config.height) == ("mjpeg", *SIZE)
    assert all(sample.data[:2] == b"\xff\xd8" and sample.data[-2:] == b"\xff\xd9" for sample in samples)
    assert not any(sample.damaged for sample in samples)
    still = (recorded[0].folder / "still.jpg").read_bytes()
    assert still in {sample.data for sample in samples}, "a still is the camera's own picture"


def test_l16_samples_equal_the_source(recorded: Recorded) -> None:
    wanted = b"".join(packets(recorded[1]["jpeg"], "audio"))
    config, samples = stored(recorded[0], "jpeg", TrackKind.AUDIO)
    assert (config.codec, config.sample_rate, config.channels) == ("l16", 48_000, 2)
    got = b"".join(sample.data for sample in samples)
    sure = round(PLAYED * len(wanted))
    assert got[:sure] == wanted[:sure]
    heard = np.concatenate(decoded(exported(recorded, "jpeg"), "audio"), axis=1)
    source = np.frombuffer(wanted, ">i2").astype(np.int16)
    assert find(source, heard.ravel()[2_000:4_000])


def find(source: Any, piece: Any) -> bool:
    """Is `piece` a stretch of `source`?"""
    return piece.astype(">i2").tobytes() in source.astype(">i2").tobytes()


@pytest.mark.parametrize(("name", "codec"), [("opus", "opus"), ("latm", "aac")])
def test_packets_of_sound_equal_the_source(recorded: Recorded, name: str, codec: str) -> None:
    wanted = packets(recorded[1][name], "audio")
    config, samples = stored(recorded[0], name, TrackKind.AUDIO)
    got = [sample.data for sample in samples]
    assert config.codec == codec
    first = wanted.index(got[0])
    assert first <= 2
    length = min(len(wanted) - first, len(got)) - 3  # the goodbye may overtake the last packets of a clip
    assert length > 150
    assert got[:length] == wanted[first : first + length]
    in_file = packets(exported(recorded, name), "audio")
    assert in_file[: length // 2] == got[got.index(in_file[0]) :][: length // 2]
    frames = decoded(exported(recorded, name), "audio")
    assert max(float(np.abs(frame).max()) for frame in frames) > 0.1


def test_g726_is_recorded_and_the_export_says_that_it_leaves_it_out(recorded: Recorded) -> None:
    config, samples = stored(recorded[0], "adpcm", TrackKind.AUDIO)
    assert (config.codec, config.codec_string) == ("g726", "g726-32")
    got = b"".join(sample.data for sample in samples)
    sure = round(PLAYED * len(recorded[3]))
    assert got[:sure] == recorded[3][:sure]
    path = exported(recorded, "adpcm")
    with av.open(str(path)) as container:
        assert not container.streams.audio
    (problem,) = json.loads(path.with_suffix(".json").read_text())["problems"]
    assert "g726-32" in problem
    (named,) = json.loads((recorded[0].folder / "adpcm.json").read_text())
    assert (named["kind"], named["codec"]) == ("audio", "g726-32")


def test_the_exports_verify(recorded: Recorded) -> None:
    for name in CLIPS:
        checked = run_mediadb("verify", str(exported(recorded, name).with_suffix(".json")))
        assert checked.returncode == 0, checked.stdout + checked.stderr
