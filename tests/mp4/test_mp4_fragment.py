"""Fragments: what is written is what is read, and a head without its sample equals the whole fragment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mp4_virtual import audio, video

from mediadb.mp4.fragment import (
    FragmentRun,
    FragmentSample,
    FragmentTrack,
    fragment,
    fragment_head,
    init_segment,
)
from mediadb.mp4.reader import read_movie

pytestmark = pytest.mark.fast


@given(
    st.integers(0, 1 << 40),
    st.integers(0, (1 << 63) - 1),
    st.binary(max_size=50),
    st.tuples(st.integers(0, (1 << 32) - 1), st.integers(-(1 << 31), (1 << 31) - 1), st.booleans()),
)
def test_head_and_sample_are_the_fragment(sequence: int, dts: int, data: bytes, timing: tuple[int, int, bool]) -> None:
    whole = fragment(sequence, [FragmentRun(3, dts, [FragmentSample(data, *timing)])])
    assert fragment_head(sequence, 3, dts, len(data), timing) + data == whole


def test_round_trip_of_two_tracks() -> None:
    picture, sound = video(30, b_frames=True), audio(60)
    tracks = [FragmentTrack(1, "video", 90_000, picture.entry), FragmentTrack(2, "audio", 8000, sound.entry)]
    whole = init_segment(tracks)
    for number in range(30):
        runs = [
            FragmentRun(
                track,
                clip.dts[number * count] + 10**10,
                [
                    FragmentSample(clip.data[i], ticks, clip.pts[i] - clip.dts[i], clip.key[i])
                    for i in range(number * count, (number + 1) * count)
                ],
            )
            for track, clip, count, ticks in ((1, picture, 1, 3600), (2, sound, 2, 160))
        ]
        whole += fragment(number + 1, runs)
    movie = read_movie(lambda at, length: whole[at : at + length], len(whole))
    assert movie.fragmented
    for track, clip in zip(movie.tracks, (picture, sound), strict=True):
        table = track.samples
        assert [whole[a : a + size] for a, size in zip(table.offsets, table.sizes, strict=True)] == clip.data
        assert [dts - 10**10 for dts in table.dts] == clip.dts
        assert list(table.cts) == [pts - dts for pts, dts in zip(clip.pts, clip.dts, strict=True)]
        assert list(map(bool, table.sync)) == clip.key
        assert track.raw_entries == (clip.entry,)


def test_refusals() -> None:
    with pytest.raises(ValueError):
        init_segment([])
    with pytest.raises(ValueError):
        fragment_head(1, 1, 0, 1 << 31, (1, 0, True))
