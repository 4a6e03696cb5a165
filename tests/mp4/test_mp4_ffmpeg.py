"""Real players: ffprobe and ffmpeg print no error line, and decode the very pictures that were encoded."""

from __future__ import annotations

import io
import json
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
from mp4_clips import WALL_US, Clip, Library

from mediadb.mp4.fragment import (
    FragmentRun,
    FragmentSample,
    FragmentTrack,
    fragment,
    fragment_head,
    init_segment,
)
from mediadb.mp4.plan import TrackBuilder, TrackPlan, TrackSpec
from mediadb.mp4.reader import read_movie
from mediadb.mp4.virtual import VirtualMp4, build

pytestmark = pytest.mark.ffmpeg

HOUR_US = 3_600_000_000
CASES = {
    "h264-aac": ("h264", "aac"),
    "h265": ("h265",),
    "h264-b-g711": ("h264_b", "g711"),
    "h265-b-aac": ("h265_b", "aac"),
}


@pytest.fixture(params=sorted(CASES))
def clips(request: pytest.FixtureRequest) -> list[Clip]:
    return [request.getfixturevalue(name) for name in CASES[request.param]]


def quiet(*command: str) -> str:
    """Runs a program that must succeed and print no error; its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def probe(path: Path) -> tuple[list[int], float, list[float]]:
    """Packets per stream, duration of the file, start of each stream; after a whole decode without an error line."""
    for copy in ((), ("-c", "copy")):
        quiet("ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0", *copy, "-f", "null", "-")
    said = json.loads(
        quiet(
            *("ffprobe", "-v", "error", "-count_packets", "-of", "json"),
            *("-show_entries", "stream=nb_read_packets,start_time:format=duration", str(path)),
        )
    )
    streams = said["streams"]
    return (
        [int(stream["nb_read_packets"]) for stream in streams],
        float(said["format"]["duration"]),
        [float(stream["start_time"]) for stream in streams],
    )


def decoded(data: bytes) -> list[tuple[Fraction, bytes]]:
    """(time, luma) of every picture shown."""
    with av.open(io.BytesIO(data)) as container:
        return [
            (frame.pts * frame.time_base, bytes(frame.planes[0]))
            for frame in container.decode(video=0)
            if frame.pts >= 0
        ]


def saved(path: Path, library: Library, movie: VirtualMp4) -> bytes:
    data = library.whole(movie)
    path.write_bytes(data)
    return data


def gapped(library: Library, clip: Clip, gap_us: int) -> TrackPlan:
    """The clip with its second half later by `gap_us`; video breaks at a keyframe."""
    builder = TrackBuilder(TrackSpec(clip.kind, clip.scale, (clip.entry,)), WALL_US, WALL_US + 1000 * HOUR_US)  # type: ignore[arg-type]
    half = next(i for i in range(len(clip.data) // 2, len(clip.data)) if clip.key[i])
    before_us = (clip.pts[half] - clip.pts[0]) * 10**6 // clip.scale
    library.feed(builder, clip, WALL_US, 0, half)
    library.feed(builder, clip, WALL_US + before_us + gap_us, half)
    plan = builder.plan()
    assert plan is not None
    return plan


def length_us(clip: Clip) -> int:
    return (clip.dts[-1] + clip.dts[1] - clip.dts[0]) * 10**6 // clip.scale


def test_whole_clips_play(clips: list[Clip], tmp_path: Path) -> None:
    library = Library()
    movie = build([library.plan(clip) for clip in clips])
    data = saved(tmp_path / "whole.mp4", library, movie)
    packets, duration, starts = probe(tmp_path / "whole.mp4")
    assert packets == [len(clip.data) for clip in clips]
    assert duration * 1e6 == pytest.approx(max(map(length_us, clips)), abs=1)
    assert starts == [0.0] * len(clips)
    assert movie.duration_us == pytest.approx(duration * 1e6, abs=1)
    pictures = decoded(data)
    assert [time for time, _ in pictures] == [Fraction(i, 25) for i in range(len(clips[0].data))]


def test_pyav_demuxes_the_same_samples(clips: list[Clip]) -> None:
    library = Library()
    data = library.whole(build([library.plan(clip) for clip in clips]))
    with av.open(io.BytesIO(data)) as container:
        for number, clip in enumerate(clips):
            container.seek(0)
            packets = [p for p in container.demux(container.streams[number]) if p.size]
            assert [bytes(packet) for packet in packets] == clip.data
            shift = clip.pts[0]  # ffmpeg moves times by the edit, so that the first picture is at 0
            assert [packet.pts + shift for packet in packets] == clip.pts
            assert [packet.dts + shift for packet in packets] == clip.dts
            assert [packet.is_keyframe for packet in packets] == clip.key


def test_four_seconds_of_gap(clips: list[Clip], tmp_path: Path) -> None:
    library = Library()
    movie = build([gapped(library, clip, 4_000_000) for clip in clips])
    data = saved(tmp_path / "gap.mp4", library, movie)
    packets, duration, _ = probe(tmp_path / "gap.mp4")
    assert packets == [len(clip.data) for clip in clips]
    assert duration * 1e6 == pytest.approx(max(map(length_us, clips)) + 4_000_000, abs=1)
    whole = Library()
    without = decoded(whole.whole(build([whole.plan(clips[0])])))
    assert [picture for _, picture in decoded(data)] == [picture for _, picture in without]


@pytest.mark.parametrize("gap_us", [-300_000, 20 * HOUR_US])
def test_overlap_and_a_gap_of_twenty_hours(clips: list[Clip], gap_us: int, tmp_path: Path) -> None:
    library = Library()
    movie = build([gapped(library, clip, gap_us) for clip in clips])
    saved(tmp_path / "gap.mp4", library, movie)
    packets, duration, _ = probe(tmp_path / "gap.mp4")
    assert packets == [len(clip.data) + 3 * (gap_us > 0) for clip in clips]
    assert duration * 1e6 == pytest.approx(movie.duration_us, abs=1)


def test_cut_inside_a_gop_shows_the_same_pictures(clips: list[Clip], tmp_path: Path) -> None:
    library = Library()
    start, end = WALL_US + 1_210_000, WALL_US + 2_130_000
    movie = build([library.plan(clip, start_us=start, end_us=end) for clip in clips])
    data = saved(tmp_path / "cut.mp4", library, movie)
    _, duration, starts = probe(tmp_path / "cut.mp4")
    assert movie.start_us == WALL_US + 1_240_000
    assert duration * 1e6 == pytest.approx(end - movie.start_us, abs=1)
    assert starts == [0.0] * len(clips)
    whole = Library()
    everything = decoded(whole.whole(build([whole.plan(clips[0])])))
    wanted = [(time - Fraction(31, 25), picture) for time, picture in everything if 31 <= time * 25 < 54]
    assert decoded(data) == wanted


def test_a_late_track_keeps_its_time(h264: Clip, aac: Clip, tmp_path: Path) -> None:
    for number, late in enumerate(("audio", "video")):
        library = Library()
        walls = {"audio": WALL_US, "video": WALL_US, late: WALL_US + 1_250_000}
        saved(tmp_path / "late.mp4", library, build([library.plan(clip, walls[clip.kind]) for clip in (h264, aac)]))
        packets, _, starts = probe(tmp_path / "late.mp4")
        assert packets == [len(h264.data), len(aac.data)]
        assert starts == [[0.0, 1.25], [1.25, 0.0]][number]


def test_fragments_play(clips: list[Clip], tmp_path: Path) -> None:
    """Fragments of half a second for all tracks, and the picture alone as one-frame fragments."""
    tracks = [FragmentTrack(i, clip.kind, clip.scale, clip.entry) for i, clip in enumerate(clips, 1)]  # type: ignore[arg-type]
    cursor = [0] * len(clips)
    many = init_segment(tracks)
    for step in range(1, 12):
        runs = []
        for number, clip in enumerate(clips):
            first = cursor[number]
            while cursor[number] < len(clip.data) and clip.dts[cursor[number]] * 2 < step * clip.scale:
                cursor[number] += 1
            rows = range(first, cursor[number])
            ticks = clip.dts[1] - clip.dts[0]
            samples = [FragmentSample(clip.data[i], ticks, clip.pts[i] - clip.dts[i], clip.key[i]) for i in rows]
            if samples:
                runs.append(FragmentRun(number + 1, clip.dts[first], samples))
        many += fragment(step, runs) if runs else b""
    video = clips[0]
    single = [init_segment(tracks[:1])]
    for i, data in enumerate(video.data):
        single += [
            fragment_head(i + 1, 1, video.dts[i], len(data), (3600, video.pts[i] - video.dts[i], video.key[i])),
            data,
        ]
    library = Library()
    wanted = [picture for _, picture in decoded(library.whole(build([library.plan(video)])))]
    for data, count in ((many, len(clips)), (b"".join(single), 1)):
        (tmp_path / "live.mp4").write_bytes(data)
        packets, _, _ = probe(tmp_path / "live.mp4")
        assert packets == [len(clip.data) for clip in clips[:count]]
        assert [picture for _, picture in decoded(data)] == wanted


def test_the_reader_reads_what_ffmpeg_writes(clips: list[Clip], tmp_path: Path) -> None:
    """Remuxed by ffmpeg, progressive and fragmented: the same samples come back."""
    library = Library()
    if clips[-1].scale == 8000:
        clips = clips[:1]  # ffmpeg writes G.711 as one-byte samples
    saved(tmp_path / "in.mp4", library, build([library.plan(clip) for clip in clips]))
    for flags in ("faststart", "frag_keyframe+empty_moov", "frag_keyframe+empty_moov+default_base_moof"):
        out = tmp_path / f"{flags}.mp4"
        quiet("ffmpeg", "-nostdin", "-v", "error", "-i", str(tmp_path / "in.mp4"), "-map", "0", "-c", "copy",
              "-movflags", flags, str(out))  # fmt: skip
        data = out.read_bytes()
        movie = read_movie(lambda at, length, data=data: data[at : at + length], len(data))
        for track, clip in zip(movie.tracks, clips, strict=True):
            table = track.samples
            assert [data[at : at + size] for at, size in zip(table.offsets, table.sizes, strict=True)] == clip.data
            assert track.entries[0].parameter_sets if clip.kind == "video" else track.entries[0].asc
            assert list(map(bool, table.sync)) == clip.key
