"""Exports: every recorded sample, read back by ffprobe, with a manifest that covers the range."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import T0, Recorder, S, offline, spec

from mediadb.errors import ChunkGone, UnsupportedVersion
from mediadb.fs import RealFs
from mediadb.movie.export import ExportRequest, export_camera
from mediadb.movie.movie import build_movie
from mediadb.mp4.entries import avc1_entry
from mediadb.read.reader import ChunkRef
from mediadb.tools.verify import verify_export
from mediadb.types import Cause, KeyType, Sample, State, TrackConfig

CAM = spec(1)
WIDTH, HEIGHT = 160, 96


def clip(frames: int, b_frames: int) -> tuple[TrackConfig, list[tuple[bytes, int, int, bool]]]:
    """H.264 at 25 fps, a keyframe a second: (config, [(sample, pts, dts, key)])."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"video_track_timescale": "90000"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        keys = "keyint=25:min-keyint=25:scenecut=0:b-adapt=0:threads=1"
        stream.options = {"preset": "ultrafast", "x264-params": f"bframes={b_frames}:{keys}"}
        for number in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), number * 3 % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    target.seek(0)
    with av.open(target) as made:
        extra = bytes(made.streams.video[0].codec_context.extradata or b"")
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in made.demux(video=0) if p.size and p.pts is not None]
    sps_len = int.from_bytes(extra[6:8], "big")
    sps = extra[8 : 8 + sps_len]
    pps_at = 8 + sps_len + 1
    pps = extra[pps_at + 2 : pps_at + 2 + int.from_bytes(extra[pps_at : pps_at + 2], "big")]
    entry = avc1_entry(WIDTH, HEIGHT, [sps], [pps])
    config = TrackConfig("h264", 90_000, entry, WIDTH, HEIGHT, frame_ticks=3_600)
    base = packets[0][2]
    return config, [(data, pts - base, dts - base, key) for data, pts, dts, key in packets]


def record(made: Recorder, frames: int, b_frames: int = 0) -> list[bytes]:
    """Film a clip in real pace; returns its samples."""
    config, packets = clip(frames, b_frames)
    state = made.state(CAM, config)
    start_us = made.now_us
    offset = (start_us - T0) * 9 // 100
    for number, (data, pts, dts, key) in enumerate(packets):
        at = start_us + dts * 100 // 9
        kind = KeyType.IDR if key else KeyType.DELTA
        made.writer.take([(state, Sample(data, pts + offset, dts + offset, kind, at))], made.now())
        if number % 25 == 24:
            made.wait(1)
            made.writer.commit(made.now())
    return [data for data, *_ in packets]


def probe(path: Path) -> dict[str, str]:
    """What ffprobe counts; it must not print an error line."""
    entries = "stream=nb_read_packets,nb_read_frames,duration"
    command = [
        "ffprobe", "-v", "error", "-select_streams", "v", "-count_packets", "-count_frames",
        "-show_entries", entries, "-of", "json", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    return dict(json.loads(done.stdout)["streams"][0])


def flip_payload(volume: Path, ref: ChunkRef) -> None:
    path = volume / (ref.name + ".rseg")
    raw = bytearray(path.read_bytes())
    raw[ref.row.offset + ref.row.length - 9] ^= 1
    path.write_bytes(raw)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("b_frames", [0, 2])
def test_an_export_has_every_sample(
    recorder: Callable[..., Recorder], volume: Path, b_frames: int, tmp_path: Path
) -> None:
    made = recorder()
    sent = record(made, 300, b_frames)
    made.stop()
    told: list[tuple[int, int]] = []
    reader = offline(volume)
    request = ExportRequest(CAM.camera, T0, T0 + 20 * S, tmp_path / "out")
    result = export_camera(reader, RealFs(), request, lambda done, total: told.append((done, total)))
    assert result.path is not None
    assert result.samples == len(sent) == 300
    counted = probe(result.path)
    assert (counted["nb_read_packets"], counted["nb_read_frames"]) == ("300", "300")
    with av.open(str(result.path)) as file:
        assert [bytes(p) for p in file.demux(video=0) if p.size] == sent
    assert told[-1] == (result.total_bytes, result.total_bytes)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["files"][0]["sha256"] == hashlib.sha256(result.path.read_bytes()).hexdigest()
    covered = manifest["tracks"][0]["coverage"]
    assert [(c["state"], c["reason"]) for c in covered] == [("recorded", ""), ("server-down", "stop")]
    assert covered[-1]["end_us"] == T0 + 20 * S
    assert manifest["signed"] is False
    assert verify_export(RealFs(), result.manifest).sound


@pytest.mark.ffmpeg
def test_a_range_is_cut_inside_the_gop_and_a_gap_keeps_its_length(
    recorder: Callable[..., Recorder], volume: Path, tmp_path: Path
) -> None:
    made = recorder()
    record(made, 100)
    made.cover(CAM, Cause(State.CAMERA_OFFLINE, "closed"))
    made.wait(4)
    made.cover(CAM, Cause(State.RECORDED))
    record(made, 100)
    made.stop()
    request = ExportRequest(CAM.camera, T0 + 2_600_000, T0 + 10 * S, tmp_path / "out")
    result = export_camera(offline(volume), RealFs(), request)
    assert result.path is not None
    counted = probe(result.path)
    assert abs(float(counted["duration"]) - 7.4) < 0.05
    states = [c["state"] for c in json.loads(result.manifest.read_text())["tracks"][0]["coverage"]]
    assert states == ["recorded", "camera-offline", "recorded"]


def test_no_footage_gives_a_manifest_that_says_why(finished: Path, tmp_path: Path) -> None:
    request = ExportRequest(CAM.camera, T0 - 20 * S, T0 - 10 * S, tmp_path / "out")
    result = export_camera(offline(finished), RealFs(), request)
    assert result.path is None
    manifest = json.loads(result.manifest.read_text())
    assert manifest["files"] == []
    assert manifest["tracks"][0]["coverage"][0]["state"] == "not-scheduled"


def test_a_damaged_chunk_is_left_out_and_named(finished: Path) -> None:
    reader = offline(finished)
    refs = list(reader.chunks(CAM.track, T0, T0 + 25 * S))
    path = finished / (refs[5].name + ".rseg")
    raw = bytearray(path.read_bytes())
    raw[refs[5].row.offset + 300] ^= 1  # in its frame table
    raw[refs[5].row.offset + 257] ^= 1
    path.write_bytes(raw)
    movie = build_movie(offline(finished), [CAM.track], T0, T0 + 25 * S)
    assert movie is not None
    assert len(movie.skipped) == 1
    assert movie.file.tracks[0].samples - movie.file.tracks[0].gap_repeats == 25 * 25 - 24


@pytest.mark.parametrize("number", [4, 5])
def test_a_bad_payload_leaves_out_its_gop_and_the_rest_is_exported(finished: Path, number: int, tmp_path: Path) -> None:
    """4: a KEY, its whole GOP cannot be shown; 5: a DELTA, its key can."""
    ref = list(offline(finished).chunks(CAM.track, T0, T0 + 25 * S))[number]
    flip_payload(finished, ref)
    request = ExportRequest(CAM.camera, T0, T0 + 25 * S, tmp_path / "out")
    result = export_camera(offline(finished), RealFs(), request)
    assert result.path is not None
    assert not result.complete
    assert result.samples == 25 * 25 - (25 if number == 4 else 24)
    manifest = json.loads(result.manifest.read_text())
    (left,) = manifest["skipped"]
    assert (left["track"], left["start_us"], left["end_us"]) == (str(CAM.track), ref.recv_us, T0 + 3 * S)
    assert f"{ref.name} at {ref.row.offset}: payload does not verify" in left["what"]
    assert verify_export(RealFs(), result.manifest).sound


def test_when_nothing_verifies_the_manifest_names_it(finished: Path, tmp_path: Path) -> None:
    for ref in offline(finished).chunks(CAM.track, T0, T0 + 25 * S):
        flip_payload(finished, ref)
    result = export_camera(offline(finished), RealFs(), ExportRequest(CAM.camera, T0, T0 + 25 * S, tmp_path / "out"))
    assert result.path is None
    assert not result.complete
    assert json.loads(result.manifest.read_text())["skipped"][0]["start_us"] == T0


@pytest.mark.fast
def test_a_manifest_of_another_program_is_not_checked_and_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for record in ({"files": [{"name": "x.mp4"}]}, {"format": "recorderd-export", "version": 7, "files": []}):
        path.write_text(json.dumps(record))
        with pytest.raises(UnsupportedVersion, match="not checked"):
            verify_export(RealFs(), path)
    path.write_text('{"format": "recorderd-export", "version": 0, "files": [{"name": "x.mp4"}]}')
    assert not verify_export(RealFs(), path).sound


def test_equal_footage_gives_equal_files(finished: Path) -> None:
    one = build_movie(offline(finished), [CAM.track], T0, T0 + 9 * S)
    two = build_movie(offline(finished), [CAM.track], T0, T0 + 9 * S)
    assert one is not None
    assert two is not None
    assert one.etag == two.etag
    assert b"".join(one.read(offline(finished), 0, one.total_bytes)) == b"".join(
        two.read(offline(finished), 0, two.total_bytes)
    )


def test_footage_reclaimed_while_exporting_is_an_error_and_leaves_no_file(finished: Path, tmp_path: Path) -> None:
    reader = offline(finished)

    def reclaim(done: int, total: int) -> None:
        raise AssertionError("not reached")

    build = build_movie(reader, [CAM.track], T0, T0 + 25 * S)
    assert build is not None
    for path in finished.rglob("*.rseg"):
        path.unlink()
        reader.removed(path)
    with pytest.raises(ChunkGone):
        b"".join(build.read(reader, 0, build.total_bytes))
    request = ExportRequest(CAM.camera, T0, T0 + 25 * S, tmp_path / "out")
    assert export_camera(reader, RealFs(), request, reclaim).path is None
    assert not list((tmp_path / "out").glob("*.part"))
