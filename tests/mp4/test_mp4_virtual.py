"""The virtual file: what is in it, when it is shown, and that any range of it equals that slice of the whole."""

from __future__ import annotations

import random
import struct
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mp4_clips import WALL_US, Clip, Library, add_sample

from mediadb.mp4.entries import avc1_entry, g711_entry
from mediadb.mp4.plan import ChunkSamples, Span, TrackBuilder, TrackPlan, TrackSpec
from mediadb.mp4.reader import Movie, pts_of, read_movie
from mediadb.mp4.virtual import ExtentSlice, VirtualMp4, build

pytestmark = pytest.mark.fast

AVC = avc1_entry(64, 48, [b"\x67\x4d\x00\x28\x01"], [b"\x68\x02"])
AVC2 = avc1_entry(128, 96, [b"\x67\x4d\x00\x28\x03"], [b"\x68\x04"])
HOUR_US = 3_600_000_000


def video(frames: int, *, b_frames: bool = False, gop: int = 25, size: int = 50) -> Clip:
    """A made-up 25 fps stream: sample bytes tell their number."""
    clip = Clip("video", 90_000, AVC)
    for number in range(frames):
        shift = (2, 3, 1)[number % 3] if b_frames and number % gop else 2 * b_frames
        data = (number.to_bytes(4, "big") * (size // 4 + 1))[: size + number % 7]
        add_sample(clip, data, 3600 * number, 3600 * (number + shift), number % gop == 0)
    return clip


def audio(frames: int, ticks: int = 160) -> Clip:
    clip = Clip("audio", 8000, g711_entry("alaw"))
    for number in range(frames):
        add_sample(clip, bytes([number % 256]) * ticks, ticks * number, ticks * number, True)
    return clip


def read_back(library: Library, movie: VirtualMp4) -> tuple[Movie, bytes]:
    whole = library.whole(movie)
    assert len(whole) == movie.total_bytes
    return read_movie(lambda at, length: whole[at : at + length], len(whole)), whole


def sample_bytes(movie: Movie, whole: bytes, track: int) -> list[bytes]:
    table = movie.tracks[track].samples
    return [whole[at : at + size] for at, size in zip(table.offsets, table.sizes, strict=True)]


def test_layout_is_canonical_and_samples_are_those_given() -> None:
    library, picture, sound = Library(), video(100), audio(200)
    movie, whole = read_back(library, build([library.plan(picture), library.plan(sound)]))
    assert [name for name, _, _ in movie.layout] == ["ftyp", "moov", "mdat"]
    assert sample_bytes(movie, whole, 0) == picture.data
    assert sample_bytes(movie, whole, 1) == sound.data
    for track, clip in zip(movie.tracks, (picture, sound), strict=True):
        assert list(track.samples.dts) == clip.dts
        assert list(pts_of(track.samples)) == clip.pts
        assert list(map(bool, track.samples.sync)) == clip.key
        assert track.edits == ()
        assert track.raw_entries == (clip.entry,)
        assert track.matrix == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert movie.duration == 360_000


def test_interleaved_by_the_second() -> None:
    library = Library()
    movie, _ = read_back(library, build([library.plan(video(100)), library.plan(audio(200))]))
    kinds = sorted(
        (at, track.kind, dts * 10 // track.timescale)
        for track in movie.tracks
        for at, dts in zip(track.samples.offsets, track.samples.dts, strict=True)
    )
    seconds = [tenth // 10 for _, _, tenth in kinds]
    assert seconds == sorted(seconds)
    assert [kind for _, kind, _ in kinds][:76] == ["video"] * 25 + ["audio"] * 50 + ["video"]


def test_b_frames_need_one_edit_for_the_reorder_delay() -> None:
    library, clip = Library(), video(50, b_frames=True)
    movie, _ = read_back(library, build([library.plan(clip)]))
    assert list(pts_of(movie.tracks[0].samples)) == clip.pts
    # The last sample decoded is shown before the one that is decoded before it.
    assert movie.tracks[0].edits == ((max(clip.pts) - 7200 + 3600, 7200),)


def test_gap_is_the_duration_of_the_sample_before_it() -> None:
    library, clip = Library(), video(100)
    builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,)), WALL_US, WALL_US + HOUR_US)
    library.feed(builder, clip, WALL_US, 0, 50)
    library.feed(builder, clip, WALL_US + 6_000_000, 50)
    plan = builder.plan()
    assert plan is not None
    virtual = build([plan])
    movie, _ = read_back(library, virtual)
    durations = list(movie.tracks[0].samples.durations)
    assert durations[49] == 90_000 * 4 + 3600
    assert durations[:49] + durations[50:] == [3600] * 99
    assert movie.tracks[0].edits == ()
    assert virtual.duration_us == 8_000_000
    assert [(a.media_us, a.wall_us - WALL_US) for a in virtual.tracks[0].anchors] == [(0, 0), (6_000_000, 6_000_000)]


def test_drift_stays_inside_its_span_and_ends_with_it() -> None:
    """A camera 1 % fast: 10 s of media in 9.9 s of wall time. The next span is tied to the wall again."""
    library, clip = Library(), video(300)
    builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,)), WALL_US, WALL_US + HOUR_US)
    library.feed(builder, clip, WALL_US, 0, 250)
    library.feed(builder, clip, WALL_US + 9_900_000, 250, 275)
    library.feed(builder, clip, WALL_US + 15_000_000, 275)
    plan = builder.plan()
    assert plan is not None
    movie, _ = read_back(library, build([plan]))
    dts = movie.tracks[0].samples.dts
    assert set(movie.tracks[0].samples.durations[:249]) == {3600}
    assert dts[250] - dts[249] == 1801  # overlap: over half of the usual duration is kept
    assert dts[275] == 15 * 90_000


def test_a_gap_over_six_hours_repeats_the_newest_keyframe() -> None:
    library, clip = Library(), video(100)
    builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,)), WALL_US, WALL_US + 100 * HOUR_US)
    library.feed(builder, clip, WALL_US, 0, 60)
    library.feed(builder, clip, WALL_US + 20 * HOUR_US, 60)
    plan = builder.plan()
    assert plan is not None
    virtual = build([plan])
    movie, whole = read_back(library, virtual)
    data = sample_bytes(movie, whole, 0)
    assert data == clip.data[:60] + [clip.data[50]] * 3 + clip.data[60:]
    table = movie.tracks[0].samples
    assert max(table.durations) == 6 * 3600 * 90_000
    assert table.dts[63] == 20 * 3600 * 90_000
    assert list(table.sync[59:64]) == [0, 1, 1, 1, 0]
    assert virtual.tracks[0].gap_repeats == 3


def test_cut_shows_exactly_the_samples_in_the_range() -> None:
    library, clip = Library(), video(100)
    start, end = WALL_US + 1_510_000, WALL_US + 2_630_000
    virtual = build([library.plan(clip, start_us=start, end_us=end)])
    movie, whole = read_back(library, virtual)
    assert sample_bytes(movie, whole, 0) == clip.data[25:66]
    assert movie.tracks[0].edits == ((90_000 * 111 // 100, 90_000 * 52 // 100),)
    assert virtual.start_us == WALL_US + 1_520_000  # the first sample at or after the start
    assert virtual.duration_us == end - virtual.start_us
    assert movie.tracks[0].samples.durations[-1] == 2700  # up to the end, not beyond


def test_start_on_a_keyframe_needs_no_edit() -> None:
    library, clip = Library(), video(100)
    movie, whole = read_back(library, build([library.plan(clip, start_us=WALL_US + 2_000_000)]))
    assert sample_bytes(movie, whole, 0) == clip.data[50:]
    assert movie.tracks[0].edits == ()


def test_end_between_reordered_pictures_hides_but_keeps_the_reference() -> None:
    library, clip = Library(), video(50, b_frames=True)
    shown_from = clip.pts[0]
    end_pts = sorted(clip.pts)[20]
    end = WALL_US + (end_pts - shown_from) * 100 // 9
    virtual = build([library.plan(clip, end_us=end)])
    movie, _ = read_back(library, virtual)
    table = movie.tracks[0].samples
    inside = [number for number, pts in enumerate(clip.pts) if pts < end_pts]
    assert len(table) == max(inside) + 1
    duration, media_time = movie.tracks[0].edits[0]
    assert (duration, media_time) == (end_pts - shown_from, shown_from)


def test_start_inside_a_gap_begins_after_it() -> None:
    library, clip = Library(), video(100)
    for kind in ("video", "audio"):
        builder = TrackBuilder(TrackSpec(kind, 90_000, (AVC,)), WALL_US + 4_000_000, WALL_US + HOUR_US)  # type: ignore[arg-type]
        library.feed(builder, clip, WALL_US, 0, 50)
        library.feed(builder, clip, WALL_US + 6_000_000, 50)
        plan = builder.plan()
        assert plan is not None
        assert len(plan.spans) == 1
        assert build([plan]).start_us == WALL_US + 6_000_000


def test_range_without_a_sample_has_no_plan() -> None:
    library, clip = Library(), video(100)
    for start, end in ((WALL_US - 9_000_000, WALL_US), (WALL_US + 1_001_000, WALL_US + 1_039_000)):
        builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,)), start, end)
        library.feed(builder, clip, WALL_US)
        assert builder.plan() is None


def test_audio_is_cut_to_the_first_picture_with_one_edit() -> None:
    library = Library()
    start = WALL_US + 1_010_000
    virtual = build([library.plan(video(100), start_us=start), library.plan(audio(250), start_us=start)])
    movie, _ = read_back(library, virtual)
    assert virtual.start_us == WALL_US + 1_040_000
    # The sound sample that lasts over the asked start begins at 1.000 s; 40 ms of it and the next are cut off.
    assert movie.tracks[1].edits == (((5_000_000 - 1_040_000) * 9 // 100, 40 * 8),)
    assert len(movie.tracks[1].samples) == 200


def test_late_audio_gets_an_empty_edit_and_no_other_track_does() -> None:
    library = Library()
    virtual = build([library.plan(video(100)), library.plan(audio(100), wall_us=WALL_US + 1_500_000)])
    movie, _ = read_back(library, virtual)
    assert movie.tracks[0].edits == ()
    assert movie.tracks[1].edits == ((135_000, -1), (180_000, 0))
    assert virtual.start_us == WALL_US


def test_sound_long_before_the_picture_is_kept() -> None:
    library = Library()
    virtual = build([library.plan(video(100), wall_us=WALL_US + 1_500_000), library.plan(audio(100))])
    movie, _ = read_back(library, virtual)
    assert virtual.start_us == WALL_US
    assert len(movie.tracks[1].samples) == 100
    assert movie.tracks[0].edits == ((135_000, -1), (360_000, 0))


def test_a_config_change_is_a_second_sample_entry() -> None:
    builder = TrackBuilder(TrackSpec("video", 90_000, (AVC, AVC2)), WALL_US, WALL_US + HOUR_US)
    for second in range(4):
        ticks = [second * 90_000 + 3600 * number for number in range(25)]
        builder.add(ChunkSamples(second, 0, WALL_US + second * 10**6, [9] * 25, ticks, ticks, True, int(second >= 2)))
    plan = builder.plan()
    assert plan is not None
    head = build([plan]).head
    movie = read_movie(lambda at, length: head[at : at + length], len(head) + 900)
    assert list(movie.tracks[0].samples.entry) == [0] * 50 + [1] * 50
    assert [info.width for info in movie.tracks[0].entries] == [64, 128]


def test_negative_composition_offsets_are_signed() -> None:
    clip = Clip("video", 90_000, AVC)
    for number, shift in enumerate((0, 7200, -3600, -3600, 0)):
        add_sample(clip, b"x", 3600 * number, 3600 * number + shift, number == 0)
    library = Library()
    movie, whole = read_back(library, build([library.plan(clip)]))
    assert list(movie.tracks[0].samples.cts) == [0, 7200, -3600, -3600, 0]
    at = whole.index(b"ctts")
    assert whole[at + 4] == 1


def test_a_first_picture_shown_before_it_is_decoded_moves_all_pictures() -> None:
    clip = Clip("video", 90_000, AVC)
    for number in range(5):
        add_sample(clip, b"x", 3600 * number, 3600 * number - 1800, number == 0)
    library = Library()
    virtual = build([library.plan(clip)])
    movie, _ = read_back(library, virtual)
    assert list(movie.tracks[0].samples.cts) == [0] * 5
    assert movie.tracks[0].edits == ()
    assert virtual.duration_us == 200_000


def test_chunks_of_many_sync_samples_are_cut_inside() -> None:
    library, sound = Library(), audio(250)
    start = WALL_US + 1_530_000
    virtual = build([library.plan(sound, start_us=start)])
    movie, whole = read_back(library, virtual)
    assert sample_bytes(movie, whole, 0) == sound.data[76:]  # the frame of 1.520 s lasts over the start
    assert movie.tracks[0].edits == (((5_000_000 - 1_530_000) * 8 // 1000, 80),)
    assert virtual.start_us == start
    pictures = video(50, gop=1)
    movie, whole = read_back(library, build([library.plan(pictures, start_us=start)]))
    assert sample_bytes(movie, whole, 0) == pictures.data[38:]


def test_edges_on_a_sample_are_half_open() -> None:
    for clip, rows in ((video(100), slice(50, 65)), (audio(250), slice(100, 130))):
        library = Library()
        plan = library.plan(clip, start_us=WALL_US + 2_000_000, end_us=WALL_US + 2_600_000)
        movie, whole = read_back(library, build([plan]))
        assert sample_bytes(movie, whole, 0) == clip.data[rows]
        assert movie.tracks[0].edits == ()
    library, sound = Library(), audio(250)
    movie, whole = read_back(library, build([library.plan(sound, start_us=WALL_US + 1_520_000)]))
    assert sample_bytes(movie, whole, 0) == sound.data[76:]
    assert movie.tracks[0].edits == ()


def test_over_four_gigabytes_uses_64_bit_offsets() -> None:
    builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,)), WALL_US, WALL_US + HOUR_US)
    for second in range(60):
        ticks = [second * 90_000]
        builder.add(ChunkSamples(second, 0, WALL_US + second * 10**6, [90_000_000], ticks, ticks, True))
    plan = builder.plan()
    assert plan is not None
    virtual = build([plan])
    movie = read_movie(lambda at, length: (virtual.head + bytes(16))[at : at + length], virtual.total_bytes)
    assert virtual.total_bytes == len(virtual.head) + 60 * 90_000_000
    assert movie.tracks[0].samples.offsets[59] == len(virtual.head) + 59 * 90_000_000
    assert movie.layout[2] == ("mdat", len(virtual.head) - 16, 60 * 90_000_000 + 16)
    last = virtual.resolve(virtual.total_bytes - 10, virtual.total_bytes)
    assert last == [ExtentSlice(59, 90_000_000 - 10, 10)]


def test_resolve_equals_the_slice_of_the_whole() -> None:
    library = Library()
    virtual = build([library.plan(video(200, b_frames=True)), library.plan(audio(300))])
    whole = library.whole(virtual)
    chance = random.Random(4)
    for _ in range(400):
        start, end = sorted((chance.randint(0, len(whole)), chance.randint(0, len(whole))))
        assert library.read(virtual, start, end) == whole[start:end]
    assert virtual.resolve(5, 5) == []
    for bad in ((-1, 5), (6, 5), (0, len(whole) + 1)):
        with pytest.raises(ValueError):
            virtual.resolve(*bad)


def test_etag_is_stable_and_tells_files_apart() -> None:
    def tag(*, frames: int = 100, wall: int = WALL_US, identity: bytes = b"t1", extent: int = 0) -> str:
        builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,), 0, identity), WALL_US, WALL_US + HOUR_US)
        ticks = [3600 * number for number in range(frames)]
        builder.add(ChunkSamples(extent, 0, wall, [10] * frames, ticks, ticks, True))
        plan = builder.plan()
        assert plan is not None
        return build([plan]).etag

    tags = [tag(), tag(frames=99), tag(wall=WALL_US + 1), tag(identity=b"t2"), tag(extent=1)]
    assert tag() == tags[0]
    assert len(set(tags)) == 5
    assert '"' not in tags[0]


def test_broken_plans_are_refused() -> None:
    spec = TrackSpec("video", 90_000, (AVC,))
    good = Span(
        0,
        array("I", [1]),
        array("I"),
        array("i", [0]),
        bytearray(1),
        [(1, 0)],
        array("Q", [0]),
        array("Q", [0]),
        array("I", [1]),
    )
    build([TrackPlan(spec, (good,), 0, 1)])
    for broken in (
        Span(0),
        Span(
            0,
            array("I", [1, 2]),
            array("I"),
            good.offsets,
            good.sync,
            good.entries,
            good.extent_ids,
            good.extent_offsets,
            good.extent_counts,
        ),
        Span(
            0,
            good.sizes,
            good.deltas,
            good.offsets,
            good.sync,
            [(1, 1)],
            good.extent_ids,
            good.extent_offsets,
            good.extent_counts,
        ),
        Span(0, good.sizes, good.deltas, good.offsets, good.sync, good.entries),
    ):
        with pytest.raises(ValueError):
            build([TrackPlan(spec, (broken,), 0, 1)])
    with pytest.raises(ValueError):
        build([])
    builder = TrackBuilder(spec, 0, 10**9)
    builder.add(ChunkSamples(0, 0, 0, [1, 1], [0, 5], [0, 5], True))
    with pytest.raises(ValueError, match="runs backwards"):
        builder.add(ChunkSamples(0, 0, 10, [1, 1], [4, 6], [4, 6], False))


@st.composite
def footage(draw: st.DrawFn) -> tuple[Library, TrackPlan, list[tuple[bytes, int, bool]]]:
    """A library, its plan and what must come out: (bytes, span number, sync) per sample."""
    library, expected = Library(), []
    builder = TrackBuilder(TrackSpec("video", 1000, (AVC, AVC2), draw(st.integers(0, 50))), 0, 1 << 60)
    wall_us, dts = draw(st.integers(1, 10**9)), draw(st.integers(-(10**6), 10**6))
    for span in range(draw(st.integers(1, 4))):
        for chunk in range(draw(st.integers(1, 5))):
            sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=8))
            deltas = draw(st.lists(st.integers(0, 90), min_size=len(sizes), max_size=len(sizes)))
            times = [dts + sum(deltas[:number]) for number in range(len(sizes))]
            shifts = draw(st.lists(st.integers(-3, 3), min_size=len(sizes), max_size=len(sizes)))
            number = len(library.extents)
            data = [draw(st.binary(min_size=size, max_size=size)) for size in sizes]
            library.extents[number] = bytes(16) + b"".join(data)
            key = draw(st.booleans())
            builder.add(
                ChunkSamples(
                    number,
                    16,
                    wall_us,
                    sizes,
                    times,
                    [t + 10 + s for t, s in zip(times, shifts, strict=True)],
                    key,
                    draw(st.integers(0, 1)),
                    chunk == 0,
                )
            )
            expected += [(part, span, key) for part in data]
            dts += sum(deltas)
            wall_us += sum(deltas) * 1000
        wall_us += draw(st.integers(-50_000, 10**7))
        wall_us = max(wall_us, 1)
    plan = builder.plan()
    assert plan is not None
    return library, plan, expected


@settings(max_examples=60, deadline=None)
@given(footage(), st.data())
def test_what_is_written_is_what_is_read(
    made: tuple[Library, TrackPlan, list[tuple[bytes, int, bool]]], data: st.DataObject
) -> None:
    library, plan, expected = made
    virtual = build([plan])
    movie, whole = read_back(library, virtual)
    table = movie.tracks[0].samples
    assert sample_bytes(movie, whole, 0) == [part for part, _, _ in expected]
    assert [bool(flag) for flag in table.sync] == [key for _, _, key in expected]
    assert table.sizes == array("I", [size for span in plan.spans for size in span.sizes])
    at, before, pts = 0, 0, pts_of(table)
    for span in plan.spans:
        count = len(span.sizes)
        if at:  # whatever the clocks did, a span is shown after the one before it
            assert min(pts[at : at + count]) > max(pts[at - before : at])
        before = count
        assert table.durations[at : at + count - 1] == span.deltas
        shift = table.cts[at] - span.offsets[0]
        assert [cts - shift for cts in table.cts[at : at + count]] == list(span.offsets)
        at += count
    assert all(after >= before for before, after in pairwise(table.dts))
    assert len(movie.tracks[0].edits) <= 1
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert library.read(virtual, start, end) == whole[start:end]


def shown(library: Library, plan: TrackPlan | None) -> list[bytes]:
    """The samples a player shows, in the order it shows them."""
    if plan is None:
        return []
    movie, whole = read_back(library, build([plan]))
    (track,) = movie.tracks
    ((duration, media_time),) = track.edits or ((track.duration, 0),)
    rows = sorted(zip(pts_of(track.samples), sample_bytes(movie, whole, 0), strict=True))
    return [data for pts, data in rows if media_time <= pts < media_time + duration]


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.integers(1, 25),
    st.integers(0, 5_000_000),
    st.lists(st.integers(0, 9_000_000), min_size=1, max_size=4),
)
def test_ranges_that_touch_lose_and_repeat_no_picture(b_frames: bool, gop: int, gap_us: int, cuts: list[int]) -> None:
    library, clip = Library(), video(100, b_frames=b_frames, gop=gop)
    half = next(number for number in range(50, 100) if clip.key[number])
    edges = sorted({WALL_US - 1, *(WALL_US + cut for cut in cuts), WALL_US + HOUR_US})
    found: list[bytes] = []
    for start, end in pairwise(edges):
        builder = TrackBuilder(TrackSpec("video", 90_000, (AVC,), 3600), start, end)
        library.feed(builder, clip, WALL_US, 0, half)
        library.feed(builder, clip, WALL_US + half * 40_000 + gap_us, half)
        found += shown(library, builder.plan())
    assert found == [data for _, data in sorted(zip(clip.pts, clip.data, strict=True))]
