"""Long files laid out from index rows: read back by the MP4 reader, every sample by its number and its time."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import offline

from mediadb.errors import ChunkCorrupt, ChunkGone
from mediadb.movie.long_movie import LongMovie, plan_long
from mediadb.movie.long_plan import Wanted, plan_groups
from mediadb.movie.movie import build_movie
from mediadb.movie.row_range import Skipped
from mediadb.movie.segments import PieceName, lay_segment, name_segments, segment_header
from mediadb.mp4.reader import Movie, Track, pts_of, read_movie
from mediadb.read.reader import Reader
from tests.long_footage import SOUND_HZ, SOUNDS, Film, S, number_of, picture, specs

pytestmark = pytest.mark.fast
T0 = 1_790_000_000 * S
TRACKS = [spec.track for spec in specs()]


def bytes_of(movie: LongMovie, reader: Reader, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(movie.read(reader, start, movie.total_bytes if end is None else end))


def planned(reader: Reader, start_s: float, end_s: float) -> LongMovie:
    movie = plan_long(reader, TRACKS, T0 + int(start_s * S), T0 + int(end_s * S))
    assert movie is not None
    return movie


def parsed(raw: bytes) -> Movie:
    movie = read_movie(lambda at, length: raw[at : at + length], len(raw))
    assert movie.fragmented
    assert not movie.cut
    return movie


def numbers(track: Track, raw: bytes) -> list[int]:
    """What each sample says it is; its whole content is checked."""
    table = track.samples
    return [number_of(raw[at : at + size]) for at, size in zip(table.offsets, table.sizes, strict=True)]


def shown(track: Track) -> list[int]:
    """Presentation times in us."""
    begin = track.edits[0][1] if track.edits else 0
    return [(pts - begin) * S // track.timescale for pts in pts_of(track.samples)]


@pytest.mark.parametrize("reorder", [False, True])
def test_every_sample_is_there_at_its_time(volume: Path, reorder: bool) -> None:
    film = Film(volume, specs(), T0, reorder=reorder)
    film.seconds(140)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 140)
    raw = bytes_of(movie, reader)
    assert len(raw) == movie.total_bytes
    video, sound = parsed(raw).tracks
    got = numbers(video, raw)
    assert got == film.pictures
    sounds = film.sounds[reorder:]  # the first one begins before the first picture is shown
    assert numbers(sound, raw) == sounds
    assert shown(sound) == [T0 + number * S // SOUNDS - movie.start_us for number in sounds]
    order = sorted(shown(video))
    assert order == [number * S // film.fps for number in film.pictures]
    durations, dts = video.samples.durations, video.samples.dts
    assert all(a + d == b for a, d, b in zip(dts, durations, dts[1:], strict=False))
    assert movie.duration_us == 140 * S
    assert movie.start_us == T0 + (S // film.fps if reorder else 0)


def test_any_piece_is_a_piece_of_the_whole(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(120)
    film.wait(5)
    film.seconds(60)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 300)
    whole = bytes_of(movie, reader)
    rng = random.Random(1)
    for _ in range(300):
        start = rng.randrange(len(whole))
        end = rng.randrange(start, min(len(whole), start + 9_000) + 1)
        assert bytes_of(planned(reader, 0, 300) if start % 9 == 0 else movie, reader, start, end) == whole[start:end]


def test_gaps_keep_their_length_and_drift_bends_nothing(volume: Path) -> None:
    film = Film(volume, specs(), T0, drift=0.01)
    film.seconds(100)
    film.wait(4)
    film.seconds(100)
    film.wait(50)
    film.seconds(20)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 400)
    raw = bytes_of(movie, reader)
    video, sound = parsed(raw).tracks
    assert numbers(video, raw) == film.pictures
    assert numbers(sound, raw) == film.sounds
    at = dict(zip(numbers(video, raw), shown(video), strict=True))
    fps = film.fps
    assert at[104 * fps] == 104 * S, "tied to wall time behind a gap"
    assert at[254 * fps] == 254 * S, "tied to wall time behind a gap"
    step = 90_000 // fps
    inside = [at[n + 1] - at[n] for n in range(99 * fps)]
    assert min(inside) >= step * S // 90_000, "the camera's own durations"
    last = video.samples.durations[film.pictures.index(100 * fps - 1)]
    assert last > 3 * 90_000, "the picture before a gap lasts until the next"
    anchors = [anchor.wall_us - anchor.media_us for anchor in movie.facts[0].anchors]
    assert anchors == [T0] * 3


def test_begins_with_the_keyframe_and_sound_begins_with_it(volume: Path) -> None:
    film = Film(volume, specs(), T0, fps=5, gop=12)  # keyframes at 2.4 s: inside a chunk of sound
    film.seconds(100)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 20.5, 60)
    raw = bytes_of(movie, reader)
    video, sound = parsed(raw).tracks
    assert movie.start_us == T0 + 19_200_000
    assert numbers(video, raw)[0] == 96
    assert shown(video)[0] == 0
    assert numbers(sound, raw)[0] == 39
    assert shown(sound)[0] == 300_000
    assert numbers(video, raw)[-1] == 299, "up to the chunk in which the end lies"
    assert movie.facts[1].samples == len(sound.samples)


def test_sound_cut_in_a_long_chunk_goes_on_with_short_ones(volume: Path) -> None:
    film = Film(volume, specs(), T0, commit_s=4)
    film.seconds(4)
    film.commit_s = 1
    film.seconds(36)
    film.stop()
    reader = offline(volume)
    raw = bytes_of(planned(reader, 2, 40), reader)
    video, sound = parsed(raw).tracks
    assert numbers(video, raw) == film.pictures[8:]
    assert numbers(sound, raw) == film.sounds[4:]


def test_a_change_of_coding_is_a_sample_entry(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(50)
    film.recode(1280)
    film.seconds(50)
    film.stop()
    reader = offline(volume)
    raw = bytes_of(planned(reader, 0, 100), reader)
    video = parsed(raw).tracks[0]
    assert [entry.width for entry in video.entries] == [640, 1280]
    assert list(video.samples.entry) == [0] * 200 + [1] * 200
    assert numbers(video, raw) == film.pictures


def test_sound_goes_on_while_pictures_are_missing(volume: Path) -> None:
    """The keyframe again every 30 s, so that a player can seek there and no group grows with the gap."""
    film = Film(volume, specs(), T0)
    film.seconds(60)
    film.seconds(200, video=False)
    film.seconds(60)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 400)
    raw = bytes_of(movie, reader)
    video, sound = parsed(raw).tracks
    assert numbers(sound, raw) == film.sounds
    assert shown(sound) == [number * S // SOUNDS for number in film.sounds]
    repeats = movie.facts[0].gap_repeats
    assert repeats == 6
    assert movie.facts[0].samples == len(video.samples) == len(film.pictures) + repeats
    key = 58 * film.fps
    extra = numbers(video, raw)[60 * film.fps :][:repeats]
    assert extra == [key] * repeats
    assert shown(video)[-1] == 319_750_000


def test_a_gap_over_six_hours_is_split_by_a_keyframe(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(20)
    film.wait(14 * 3600)
    film.seconds(20)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 15 * 3600)
    raw = bytes_of(movie, reader)
    video, sound = parsed(raw).tracks
    assert movie.facts[0].gap_repeats == 2
    assert max(video.samples.durations) <= 6 * 3600 * 90_000 + 90_000
    assert max(sound.samples.durations) <= 6 * 3600 * SOUND_HZ
    at = dict(zip(numbers(video, raw), shown(video), strict=True))
    assert at[film.pictures[-1]] == (14 * 3600 + 40) * S - S // film.fps


def test_sound_before_the_first_picture_is_footage(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(90, video=False)
    film.seconds(30)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 200)
    raw = bytes_of(movie, reader)
    video, sound = parsed(raw).tracks
    assert movie.start_us == T0
    assert numbers(sound, raw) == film.sounds
    assert shown(sound)[0] == 0
    assert numbers(video, raw) == film.pictures
    assert shown(video)[0] == 90 * S


def test_sound_alone(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(100, video=False)
    film.stop()
    reader = offline(volume)
    raw = bytes_of(planned(reader, 0, 200), reader)
    (sound,) = parsed(raw).tracks
    assert numbers(sound, raw) == film.sounds
    assert plan_long(reader, TRACKS, T0 + 500 * S, T0 + 900 * S) is None


def test_a_camera_without_keyframes_is_still_cut_into_groups(volume: Path) -> None:
    film = Film(volume, specs(), T0, gop=4 * 400)
    film.seconds(300)
    film.stop()
    reader = offline(volume)
    plan = plan_groups(reader, Wanted(TRACKS, T0, T0 + 300 * S, 8 * S), lambda _: False, [])
    assert plan is not None
    assert len(plan) == 10
    assert sum(plan.sync) == 1
    raw = bytes_of(planned(reader, 0, 300), reader)
    assert numbers(parsed(raw).tracks[0], raw) == film.pictures


def test_groups_of_a_high_bit_rate_are_shorter(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month is cut into groups of minutes; 31 bits count their bytes."""
    for module in ("mediadb.movie.long_plan", "mediadb.mp4.group"):
        monkeypatch.setattr(f"{module}.MAX_GROUP_BYTES", 10_000, raising=False)
    film = Film(volume, specs(), T0, padding=300)
    film.seconds(120)
    film.stop()
    reader = offline(volume)
    raw = bytes_of(planned(reader, 0, 120), reader)
    assert len(raw) > 10 * 10_000
    assert len(parsed(raw).tracks[0].samples) == len(film.pictures)


def test_equal_footage_gives_an_equal_etag_and_other_footage_another(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(140)
    film.stop()
    reader = offline(volume)
    one, same, other = planned(reader, 0, 140), planned(offline(volume), 0, 140), planned(reader, 0, 130)
    assert one.etag == same.etag != other.etag
    assert bytes_of(one, reader) == bytes_of(same, reader)


def test_damage_ends_the_read_and_a_doubted_segment_is_left_out(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(140)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 140)
    path = sorted(volume.rglob("*.rseg"))[1]
    raw = bytearray(path.read_bytes())
    at = raw.index(picture(280, True))
    raw[at + 30] ^= 1
    path.write_bytes(raw)
    reader = offline(volume)
    with pytest.raises(ChunkCorrupt) as met:
        bytes_of(movie, reader)
    doubted = str(met.value.params["file"])
    skipped: list[Skipped] = []
    again = plan_long(reader, TRACKS, T0, T0 + 140 * S, lambda name: name == doubted, skipped)
    assert again is not None
    assert again.etag != movie.etag
    assert [one.damaged for one in skipped] == [True]
    whole = bytes_of(again, reader)
    video = parsed(whole).tracks[0]
    gone = sorted(set(film.pictures) - set(numbers(video, whole)))
    assert 280 in gone
    assert len(gone) <= film.gop
    later = dict(zip(numbers(video, whole), shown(video), strict=True))
    assert later[400] == 100 * S, "what follows keeps its time"


@pytest.mark.parametrize("every", [False, True])
def test_groups_over_the_edges_of_a_doubted_segment(volume: Path, every: bool) -> None:
    """What can be shown stays, what refers to damage goes with it, and all that goes is named."""
    film = Film(volume, specs(), T0, gop=28)
    film.seconds(180)
    film.stop()
    path = sorted(volume.rglob("*.rseg"))[1]
    raw = bytearray(path.read_bytes())
    wrong = [number for number in range(252, 480, 28) if every or number == 308]
    for number in wrong:
        raw[raw.index(picture(number, True)) + 30] ^= 1
    path.write_bytes(raw)
    reader = offline(volume)
    name = str(path.relative_to(volume).with_suffix(""))
    skipped: list[Skipped] = []
    movie = plan_long(reader, TRACKS, T0, T0 + 180 * S, lambda one: one == name, skipped)
    assert movie is not None
    whole = bytes_of(movie, reader)
    gone = set(film.pictures) - set(numbers(parsed(whole).tracks[0], whole))
    assert gone == {number + later for number in wrong for later in range(28)}
    told = {n for n in film.pictures if any(one.start_us <= T0 + n * S // 4 < one.end_us for one in skipped)}
    assert told == gone


def test_what_refers_to_a_lost_segment_is_left_out_of_every_file(volume: Path) -> None:
    """60 s to 120 s are gone, in the middle of groups: nothing is shown up to the next keyframe."""
    film = Film(volume, specs(), T0, gop=28)
    film.seconds(180)
    film.stop()
    sorted(volume.rglob("*.rseg"))[1].unlink()
    there = [*range(240), *range(504, 720)]
    reader = offline(volume)
    for plan in (plan_long, build_movie):
        skipped: list[Skipped] = []
        movie = plan(reader, TRACKS, T0, T0 + 180 * S, skipped=skipped)
        assert movie is not None
        raw = b"".join(movie.read(reader, 0, movie.total_bytes))
        whole = read_movie(lambda at, length, raw=raw: raw[at : at + length], len(raw))
        seen = numbers(whole.tracks[0], raw)
        assert list(dict.fromkeys(seen)) == there, "a keyframe may stand again where sound alone goes on"
        (told,) = skipped
        assert (told.start_us, told.end_us, told.damaged) == (T0 + 120 * S, T0 + 126 * S, False)
    segments = plan_groups(reader, Wanted(TRACKS, T0, T0 + 180 * S, 4 * S), lambda _: False, [])
    assert segments is not None
    pictures: list[int] = []
    for segment in name_segments(segments):
        group = lay_segment(reader, (TRACKS[0], segment.video), (TRACKS[1], ()))
        raw = segment_header(reader, (TRACKS[0], segment.codings[0]), (TRACKS[1], ()))
        raw += b"".join(group.read(reader, 0, group.total_bytes))
        pictures += numbers(parsed(raw).tracks[0], raw) if segment.video else []
    assert list(dict.fromkeys(pictures)) == there


def test_removed_footage_is_gone_never_other_bytes(volume: Path) -> None:
    film = Film(volume, specs(), T0)
    film.seconds(140)
    film.stop()
    reader = offline(volume)
    movie = planned(reader, 0, 140)
    oldest = sorted(volume.rglob("*.rseg"))[0]
    oldest.unlink()
    reader = offline(volume)
    with pytest.raises(ChunkGone):
        bytes_of(movie, reader, len(movie.head), len(movie.head) + 10)
    tail = bytes_of(movie, reader, movie.total_bytes - 64, movie.total_bytes)
    assert tail, "the rest can still be read"


def test_segments_of_a_playlist_hold_every_sample_and_need_no_playlist(volume: Path) -> None:
    film = Film(volume, specs(), T0, reorder=True)
    film.seconds(90)
    film.wait(4)
    film.seconds(30)
    film.recode(1280)
    film.seconds(30)
    film.stop()
    reader = offline(volume)
    plan = plan_groups(reader, Wanted(TRACKS, T0, T0 + 400 * S, 4 * S), lambda _: False, [])
    assert plan is not None
    segments = list(name_segments(plan))
    pictures, sounds = [], []
    for segment in segments:
        video, audio = (
            (track, [PieceName.parse(str(name)) for name in names])
            for track, names in zip(TRACKS, (segment.video, segment.audio), strict=True)
        )
        group = lay_segment(reader, video, audio)
        codings = tuple(zip(TRACKS, segment.codings, strict=True))
        raw = segment_header(reader, *codings) + b"".join(group.read(reader, 0, group.total_bytes))
        tracks = parsed(raw).tracks
        assert len(tracks[0].entries) == 1
        pictures += numbers(tracks[0], raw)
        sounds += numbers(tracks[1], raw)
        assert sum(tracks[0].samples.durations) * S == segment.duration_us * 90_000
        assert segment.wall_us == T0 + pictures[-len(tracks[0].samples)] * S // film.fps + S // film.fps
    assert pictures == film.pictures
    assert sounds == film.sounds[1:]
    assert sum(segment.fresh for segment in segments) == 3
    assert sum(segment.duration_us for segment in segments) == 150 * S


def test_a_plan_says_what_it_costs_to_keep_also_with_many_breaks(volume: Path) -> None:
    film = Film(volume, specs(), T0, fps=1, gop=2, segment_s=600, commit_s=60)
    for _ in range(300):
        film.seconds(4)
        film.wait(3)
    film.stop()
    reader = offline(volume)
    planned(reader, 0, 2_100)  # fills the caches of the reader
    gc.collect()
    tracemalloc.start()
    try:
        movie = planned(reader, 0, 2_100)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held * 0.7 < movie.cost_bytes < held * 2


def test_segments_of_a_camera_that_comes_and_goes_cost_no_look_at_every_break(volume: Path) -> None:
    class Counted(list[Any]):
        looks = 0

        def __iter__(self) -> Iterator[Any]:
            Counted.looks += 1
            return super().__iter__()

    film = Film(volume, specs(), T0)
    for _ in range(20):
        film.seconds(6)
        film.wait(3)
    film.stop()
    plan = plan_groups(offline(volume), Wanted(TRACKS, T0, T0 + 400 * S, 4 * S), lambda _: False, [])
    assert plan is not None
    assert plan.other is not None
    plan.lead.breaks, plan.other.breaks = Counted(plan.lead.breaks), Counted(plan.other.breaks)
    assert len(list(name_segments(plan))) >= 40
    assert Counted.looks <= 2
