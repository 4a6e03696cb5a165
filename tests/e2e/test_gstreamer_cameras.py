"""Cameras that are not ours: GStreamer's RTSP server plays clips; what is recorded and exported equals them."""

from __future__ import annotations

import time
from pathlib import Path

import av
import pytest

from recorderd.media.nal import split_annex_b, split_units
from tests.e2e.harness import Server, run_mediadb, running, wait_until
from tests.peers.gstreamer import make_clip, start

pytestmark = [pytest.mark.e2e, pytest.mark.gst]

CLIPS = {
    "aac": ("clip.mp4", "libx264", "aac", 0, {"video": "h264", "audio": "aac"}),
    "hevc": ("hevc.mp4", "libx265", None, 2, {"video": "h265"}),
    "g711": ("b.mov", "libx264", "pcm_mulaw", 2, {"video": "h264", "audio": "pcmu"}),
}
FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
# Left out of the comparison: AUD, filler and parameter sets; the payloader repeats those.
LEFT_OUT = {"h264": {7, 8, 9, 12}, "hevc": {32, 33, 34, 35, 38}}


def nal_kind(nal: bytes, codec: str) -> int:
    return nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63


def pictures(path: Path) -> tuple[str, list[list[bytes]], list[int], list[int]]:
    """(codec, NAL units per picture, pts, dts in 90 kHz ticks) of an MP4's video."""
    nals, pts, dts = [], [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        annex_b = av.BitStreamFilterContext(FILTERS[codec], stream)
        for packet in container.demux(stream):
            if not packet.size:
                continue
            ticks = 90_000 * packet.time_base
            pts.append(round(packet.pts * ticks))
            dts.append(round(packet.dts * ticks))
            if path.suffix == ".mp4" and path.parent.name == "out":
                units = list(split_units(bytes(packet)))
            else:
                units = [nal for out in annex_b.filter(packet) for nal in split_annex_b(bytes(out))]
            nals.append([nal for nal in units if nal_kind(nal, codec) not in LEFT_OUT[codec]])
    return codec, nals, pts, dts


def sounds(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_recorded_and_exported_equals_what_gstreamer_played(tmp_path: Path) -> None:
    files = {
        name: make_clip(tmp_path / row[0], row[1], row[2], b_frames=row[3], seconds=5) for name, row in CLIPS.items()
    }
    mounts = {f"/{name}": {"file": str(files[name]), **row[4]} for name, row in CLIPS.items()}
    server = Server(tmp_path)
    with running(server):
        with start(mounts) as port:
            for name in CLIPS:
                server.add(name, f"rtsp://127.0.0.1:{port}/{name}", user=False)
            server.start()
            # A clip ends with a goodbye; the camera is then offline until it is connected again and plays anew.
            wait_until(lambda: server.alive() and played(server) == set(CLIPS), 40, server.log)
        time.sleep(1.5)
        assert server.stop() == 0, server.log()
    out = tmp_path / "out"
    done = run_mediadb("export", str(server.volume), *CLIPS, "--start", "-10m", "--end", "now", "-o", str(out))
    assert done.returncode == 0, done.stderr
    for name, row in CLIPS.items():
        (exported,) = out.glob(f"{name}_*.mp4")
        compare(files[name], exported, has_sound=row[2] is not None)
        checked = run_mediadb("verify", str(exported.with_suffix(".json")))
        assert checked.returncode == 0, checked.stdout + checked.stderr


def played(server: Server) -> set[str]:
    """Cameras whose clip came to its end at least once."""
    events = server.get("/api/v1/events?limit=1000")["items"]
    names = {item["id"]: name for name, item in server.cameras().items()}
    ended = {item["camera"] for item in events if item["code"] == "camera-offline"}
    return {names[camera] for camera in ended if camera in names}


def compare(clip: Path, exported: Path, has_sound: bool) -> None:
    codec, wanted, pts, dts = pictures(clip)
    got_codec, got, got_pts, got_dts = pictures(exported)
    assert got_codec == codec
    count = len(wanted)
    assert got[:count] == wanted, f"{clip.name}: a picture differs"
    for n in range(count):
        assert abs((got_pts[n] - got_pts[0]) - (pts[n] - pts[0])) <= 1, f"{clip.name}: pts of picture {n}"
        # The last dts before a gap may be stretched by it; inside the clip they are the clip's.
        assert abs((got_dts[n] - got_dts[0]) - (dts[n] - dts[0])) <= 1, f"{clip.name}: dts of picture {n}"
    if has_sound:
        heard, want = sounds(exported), sounds(clip)
        if codec == "h264" and clip.suffix == ".mov":  # G.711 is one long row of samples
            assert b"".join(heard).startswith(b"".join(want)[: len(b"".join(heard))])
        else:
            first = want.index(heard[0])
            assert first <= 2  # encoder priming before time 0, and what lies before the first picture
            length = min(len(want) - first, len(heard))
            assert length > 200
            assert heard[:length] == want[first : first + length]
