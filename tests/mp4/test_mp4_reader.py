"""The reader against files that lie: a typed error or a sound movie, never anything else, never much memory."""

from __future__ import annotations

import contextlib
import random
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mp4_clips import Library
from test_mp4_virtual import audio, video

from mediadb.mp4.boxes import Limits, Mp4Error, box, full_box
from mediadb.mp4.fragment import FragmentRun, FragmentSample, FragmentTrack, fragment, init_segment
from mediadb.mp4.reader import Movie, read_movie
from mediadb.mp4.virtual import build

pytestmark = pytest.mark.fast


def read(data: bytes, limits: Limits | None = None) -> Movie:
    return read_movie(lambda at, length: data[at : at + length], len(data), limits or Limits())


def progressive() -> bytes:
    library = Library()
    return library.whole(build([library.plan(video(60, b_frames=True)), library.plan(audio(50))]))


def fragmented() -> bytes:
    picture, sound = video(20, b_frames=True), audio(40)
    parts = [
        init_segment([FragmentTrack(1, "video", 90_000, picture.entry), FragmentTrack(2, "audio", 8000, sound.entry)])
    ]
    for number in range(4):
        runs = []
        for track, clip, count, ticks in ((1, picture, 5, 3600), (2, sound, 10, 160)):
            rows = range(number * count, (number + 1) * count)
            samples = [FragmentSample(clip.data[i], ticks, clip.pts[i] - clip.dts[i], clip.key[i]) for i in rows]
            runs.append(FragmentRun(track, clip.dts[rows[0]], samples))
        parts.append(fragment(number + 1, runs))
    return b"".join(parts)


FILES = {"progressive": progressive(), "fragmented": fragmented()}


@pytest.fixture(params=sorted(FILES))
def whole(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]


def check_or_error(data: bytes) -> None:
    """Reads; whatever comes back lies inside the file."""
    with contextlib.suppress(Mp4Error):
        for track in read(data).tracks:
            table = track.samples
            columns = (table.sizes, table.dts, table.durations, table.cts, table.sync, table.entry)
            assert {len(column) for column in columns} == {len(table.offsets)}
            assert all(at + size <= len(data) for at, size in zip(table.offsets, table.sizes, strict=True))


def test_every_truncation(whole: bytes) -> None:
    end = min(len(whole), 4000)
    for size in [*range(0, end, 3), *range(end, len(whole), 211)]:
        check_or_error(whole[:size])


def test_flipped_bytes_and_lying_numbers(whole: bytes) -> None:
    chance = random.Random(11)
    header = whole.index(b"mdat")
    for _ in range(1200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(header - 4)
            if chance.random() < 0.5:
                data[at] = chance.randrange(256)
            else:
                data[at : at + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\1"))
        check_or_error(bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(noise: bytes) -> None:
    check_or_error(noise)
    check_or_error(box(b"moov", noise))
    check_or_error(box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", noise))))))
    check_or_error(FILES["fragmented"] + box(b"moof", box(b"traf", noise)))


def patched(kind: bytes, at: int, value: bytes) -> bytes:
    """The progressive file with bytes of the first box of a kind replaced; `at` counts from its payload."""
    data = bytearray(FILES["progressive"])
    place = data.index(kind) + 4 + at
    data[place : place + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (patched(b"stsz", 8, b"\xff" * 4), "samples, the file has room for"),
        (patched(b"stsz", 4, b"\x00\x00\xff\xff"), "ends beyond the file"),
        (patched(b"stts", 4, b"\xff" * 4), "rows announced"),
        (patched(b"stts", 8, b"\xff" * 4), "samples in its runs"),
        (patched(b"ctts", 8, b"\x7f" * 4), "samples in its runs"),
        (patched(b"stss", 8, b"\xff" * 4), "sync sample"),
        (patched(b"stsc", 8, b"\0\0\0\2"), "out of order"),
        (patched(b"stsc", 12, b"\xff" * 4), "more samples in chunks"),
        (patched(b"stsc", 16, b"\0\0\0\7"), "sample entry 7 of 1"),
        (patched(b"stco", 8, b"\xff" * 4), "ends beyond the file"),
        (patched(b"stsd", 4, b"\0\0\0\2"), "2 sample entries announced"),
        (patched(b"mdhd", 12, bytes(4)), "without a timescale"),
        (patched(b"trak", -8, b"\x7f\xff\xff\xff"), "after its parent"),
        (patched(b"moov", -8, b"\0\0\0\3"), "below its own header"),
        (box(b"ftyp", bytes(8)), "no moov"),
        (b"", "no moov"),
        (FILES["progressive"] + box(b"moov"), "second moov"),
        (box(b"moof"), "before moov"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(data: bytes, cause: str) -> None:
    with pytest.raises(Mp4Error, match=cause):
        read(data)


def run_of(count: int, flags: int) -> bytes:
    tfhd = full_box(b"tfhd", 0, 0x020000, struct.pack(">I", 1))
    return box(b"moof", box(b"traf", tfhd, full_box(b"trun", 0, flags, struct.pack(">I", count))))


def test_a_run_without_bytes_cannot_ask_for_memory() -> None:
    head = init_segment([FragmentTrack(1, "video", 90_000, video(1).entry)])
    with pytest.raises(Mp4Error, match="room for"):
        read(head + run_of(0xFFFFFFFF, 0))
    with pytest.raises(Mp4Error, match="rows announced"):
        read(head + run_of(500, 0x300))


def test_memory_stays_proportional_to_the_file() -> None:
    size = 1 << 20
    for lie in (patched(b"stsz", 4, struct.pack(">II", 1, size)), patched(b"stsz", 4, struct.pack(">II", 1, 60))):
        data = lie + bytes(size - len(lie))
        tracemalloc.start()
        check_or_error(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * size


def test_limits_are_the_callers() -> None:
    whole = FILES["progressive"]
    for limits in (Limits(max_tracks=1), Limits(max_samples=109), Limits(max_boxes=20), Limits(max_header_bytes=500)):
        with pytest.raises(Mp4Error):
            read(whole, limits)
    assert len(read(whole, Limits(max_samples=110)).tracks) == 2


def test_a_torn_mdat_is_marked_and_its_lost_samples_are_an_error() -> None:
    whole = FILES["progressive"]
    extended = whole[: whole.index(b"mdat") - 4] + struct.pack(">I", 1 << 30) + whole[whole.index(b"mdat") :]
    assert read(extended).cut
    assert not read(whole).cut
    with pytest.raises(Mp4Error, match="ends beyond the file"):
        read(whole[:-1])


def test_an_error_has_a_stable_code() -> None:
    with pytest.raises(Mp4Error) as caught:
        read(patched(b"stts", 8, b"\xff" * 4))
    assert caught.value.code == "mp4-invalid"
    assert caught.value.place == "moov/trak/mdia/minf/stbl/stts"
    assert str(caught.value.offset) in str(caught.value)
