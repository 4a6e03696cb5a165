"""media.mp4 of more than an hour: a day scrubbed by Range, each picture checked by its number; players seek in it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
import subprocess
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, HARDWARE, SERVER, T0, S, Scene, record, scene, video_clip

from mediadb.mp4.reader import pts_of, read_movie
from mediadb.types import TrackKind, TrackSpec
from recorderd.core.timerange import format_time, parse_time
from recorderd.engine.stream import track_id
from recorderd.server.http import movie as served
from recorderd.server.http.media_routes import SHELF
from tests.long_footage import Film, number_of, picture

BASE = "/api/v1/cameras/gate/media.mp4"
DAY_S = 86_400


def gate(kind: TrackKind, role: str = "main") -> TrackSpec:
    id = CAMERAS["gate"]
    return TrackSpec(track_id(id, role, kind), id, HARDWARE, kind, role)


def url(start_us: int, end_us: int, name: str = "media.mp4", role: str = "main") -> str:
    path = BASE.replace("media.mp4", name)
    return f"{path}?start={format_time(start_us)}&end={format_time(end_us)}&stream={role}"


def film_a_day(volume: Path) -> Film:
    """The day before T0 at 2 pictures a second, a keyframe every 4 s. At 6:00 a gap of 4 s, at 12:00 another coding,
    at 18:00 three minutes of sound without pictures."""
    specs = [gate(TrackKind.VIDEO), gate(TrackKind.AUDIO)]
    film = Film(volume, specs, T0 - DAY_S * S, SERVER, fps=2, gop=8, segment_s=300, commit_s=8)
    film.seconds(6 * 3600)
    film.wait(4)
    film.seconds(6 * 3600 - 4)
    film.recode(1280)
    film.seconds(6 * 3600)
    film.seconds(180, video=False)
    film.seconds(6 * 3600 - 180)
    film.stop()
    return film


class Index:
    """The head of a fragmented file: everything before the first group, and where each group lies."""

    def __init__(self, head: bytes) -> None:
        at = head.index(b"sidx") - 4
        size, _, _, _, scale, _, first, _, count = struct.unpack_from(">I4sIIIQQHH", head, at)
        rows = list(struct.iter_unpack(">III", head[at + 40 : at + size]))
        assert len(rows) == count
        self.head = head[:at]
        self.ends = list(accumulate((row[0] for row in rows), initial=at + size + first))
        self.times = [ticks * S // scale for ticks in accumulate((row[1] for row in rows), initial=0)]

    def group(self, time_us: int) -> tuple[int, int]:
        number = bisect_right(self.times, time_us) - 1
        return self.ends[number], self.ends[number + 1]


def shown_at(head: bytes, group: bytes, time_us: int) -> int:
    """The number of the picture that a player shows at this presentation time."""
    raw = head + group
    video = read_movie(lambda at, length: raw[at : at + length], len(raw)).tracks[0]
    pts = [ticks * S // video.timescale for ticks in pts_of(video.samples)]
    place = max((i for i in range(len(pts)) if pts[i] <= time_us), key=lambda i: pts[i])
    begin = video.samples.offsets[place]
    return number_of(raw[begin : begin + video.samples.sizes[place]])


async def read_index(made: Scene, path: str) -> Index:
    async with made.client.get(path, headers={"Range": "bytes=0-999999"}) as answer:
        assert answer.status == 206, await answer.text()
        return Index(await answer.read())


def probe(target: str, *more: str) -> Any:
    argv = ["ffprobe", "-v", "fatal", "-of", "json", *more, target]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=100).stdout)


async def test_a_day_scrubbed_a_thousand_times(tmp_path: Path) -> None:
    film = await asyncio.to_thread(film_a_day, tmp_path / "volume")
    begin = T0 - DAY_S * S
    async with scene(tmp_path) as made:
        path = url(begin, T0)
        async with made.client.head(path) as answer:
            length, etag = int(answer.headers["Content-Length"]), answer.headers["ETag"]
            assert parse_time(answer.headers["X-Start-Time"], 0) == begin
        index = await read_index(made, path)
        assert index.ends[-1] == length
        assert abs(index.times[-1] - DAY_S * S) < S
        rng = random.Random(20)
        for _ in range(1000):
            time_us = rng.randrange(DAY_S * S)
            if 18 * 3600 <= time_us // S < 18 * 3600 + 200:
                continue  # keyframes that are there again; tested below
            first, end = index.group(time_us)
            async with made.client.get(path, headers={"Range": f"bytes={first}-{end - 1}"}) as answer:
                assert (answer.status, answer.headers["ETag"]) == (206, etag)
                group = await answer.read()
            expected = film.pictures[bisect_right(film.pictures, time_us * film.fps // S) - 1]
            assert shown_at(index.head, group, time_us) == expected, time_us
        (plan,) = made.client.server.app[SHELF]._plans.values()
        assert plan.movie.cost_bytes < 2_000_000, "what a day costs to keep"
        facts = (await made.json(path.replace(".mp4", ".json")))["tracks"][0]
        assert facts["samples"] == len(film.pictures) + facts["gap_repeats"]
        assert [anchor["media_us"] // S for anchor in facts["anchors"]] == [0, 6 * 3600 + 4, 18 * 3600 + 180]
        await seek_with_ffprobe(str(made.client.make_url(path)), film)


async def seek_with_ffprobe(target: str, film: Film) -> None:
    """A player's own seeks: it opens the file by its index and lands on the keyframe at or before each time."""
    rng = random.Random(3)
    times = [rng.randrange(DAY_S) for _ in range(8)] + [6 * 3600 + 2, 12 * 3600 + 1, 18 * 3600 + 100]
    known = {hashlib.md5(picture(number, True)).hexdigest(): number for number in film.pictures}
    intervals = ",".join(f"{time}%+#1" for time in times)
    found = await asyncio.to_thread(
        probe, target, "-select_streams", "v", "-read_intervals", intervals, "-show_data_hash", "md5",
        "-show_entries", "packet=pts_time,flags,data_hash:format=duration",
    )  # fmt: skip
    assert abs(float(found["format"]["duration"]) - DAY_S) < 1
    assert len(found["packets"]) == len(times)
    for time, packet in zip(times, found["packets"], strict=True):
        number = known[packet["data_hash"].removeprefix("MD5:")]
        assert packet["flags"].startswith("K")
        assert time - 34 < float(packet["pts_time"]) <= time
        if time != 18 * 3600 + 100:
            assert number == float(packet["pts_time"]) * film.fps


@pytest.fixture
def long_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a long one."""
    monkeypatch.setattr(served, "LONG_US", 0)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("bframes", [0, 2])
async def test_players_have_nothing_to_complain_about(tmp_path: Path, bframes: int, long_form: None) -> None:
    """Decoded from end to end, a gap inside; each picture at its time."""
    async with scene(tmp_path) as made:
        clip = video_clip(bframes=bframes)
        made.clock.advance(10 * S)
        await record(made.store, "gate", end=40, clip=clip)
        await record(made.store, "gate", start=50, end=90, shift_us=4 * S, clip=clip, new_run=True)
        target = str(made.client.make_url(url(T0, T0 + 60 * S)))
        argv = ["ffmpeg", "-v", "warning", "-i", target, "-f", "null", "-"]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        found = await asyncio.to_thread(
            probe, target, "-select_streams", "v", "-show_entries", "packet=pts_time:format=duration"
        )
    times = sorted(float(packet["pts_time"]) for packet in found["packets"])
    assert times == [n / 10 for n in range(40)] + [9 + n / 10 for n in range(40)]
    assert float(found["format"]["duration"]) == 13.0


async def test_ranges_conditions_and_head_of_a_long_file(server: Scene, long_form: None) -> None:
    path = url(T0, T0 + 10 * S)
    async with server.client.get(path) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
        assert b"sidx" in whole[:2000]
    for header, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-2999", 100, 3000),
        ("bytes=-500", len(whole) - 500, len(whole)),
        (f"bytes=10-{10**18}", 10, len(whole)),
    ]:
        async with server.client.get(path, headers={"Range": header}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (206, etag)
            assert await answer.read() == whole[start:end], header
    for headers, status in [
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Range": f"W/{etag}", "Range": "bytes=5-9"}, 200),
        ({"If-Range": '"other"', "Range": "bytes=5-9"}, 200),
        ({"If-Range": "Sat, 01 Jan 2000 00:00:00 GMT", "Range": "bytes=5-9"}, 200),
        ({"If-Range": etag, "Range": "bytes=5-9"}, 206),
        ({"Range": f"bytes={len(whole)}-"}, 416),
        ({"Range": "bytes=-0"}, 416),
        ({"Range": "bytes=9-5"}, 200),
        ({"Range": "bytes=0-1,5-6"}, 200),
        ({"Range": f"bytes={'9' * 30}-"}, 416),
        ({"Range": "bytes=--5"}, 200),
    ]:
        async with server.client.get(path, headers=headers) as answer:
            assert answer.status == status, headers
            await answer.read()


async def test_reclaimed_bytes_of_a_long_file_give_412(tmp_path: Path, long_form: None) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        for second in range(10):
            made.clock.advance(S)
            await record(made.store, "gate", start=second * 10, end=second * 10 + 10, audio=False)
        path = url(T0, T0 + 10 * S)
        async with made.client.get(path, headers={"Range": "bytes=0-99"}) as answer:
            assert answer.status == 206
        oldest = sorted((tmp_path / "volume").rglob("*.rseg"))[0]
        made.store.reader.removed(oldest)
        oldest.unlink()
        await made.problem(path, "footage-reclaimed", headers={"Range": "bytes=2000-2999"})
        await made.problem(path, "footage-reclaimed", headers={"Range": "bytes=2000-2999"})
        async with made.client.get(path) as answer:
            assert answer.status == 200


async def test_damage_in_a_long_file_is_left_out_the_next_time(tmp_path: Path, long_form: None) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        for second in range(10):
            made.clock.advance(S)
            await record(made.store, "gate", start=second * 10, end=second * 10 + 10, audio=False)
        path = url(T0, T0 + 10 * S)
        victim = sorted((tmp_path / "volume").rglob("*.rseg"))[1]
        raw = bytearray(victim.read_bytes())
        sample = next(data for data, _, _, _ in video_clip().samples[30:] if data in raw)
        raw[raw.index(sample) + len(sample) // 2] ^= 1
        with victim.open("r+b") as file:  # in place: the server has it open
            file.write(raw)
        answer = await made.client.get(path)
        if answer.status == 200:
            with pytest.raises(Exception, match=r"payload|closed|reset|lost"):
                await answer.read()
        answer.close()
        async with made.client.get(path) as again:
            assert again.status == 200
            whole = await again.read()
        assert sample not in whole
        gaps = (await made.json(path.replace(".mp4", ".json")))["gaps"]
        assert "chunk-damaged" in {gap["reason"] for gap in gaps}


async def test_the_sub_stream_and_its_form(tmp_path: Path) -> None:
    film = Film(tmp_path / "volume", [gate(TrackKind.VIDEO, "sub")], T0 - 7200 * S, SERVER, gop=40, commit_s=10)
    film.seconds(7200)
    film.stop()
    async with scene(tmp_path) as made:
        hour, long = url(T0 - 3600 * S, T0, role="sub"), url(T0 - 7200 * S, T0, role="sub")
        async with made.client.get(hour, headers={"Range": "bytes=0-99999"}) as answer:
            assert b"sidx" not in await answer.read()
        index = await read_index(made, long)
        first, end = index.group(5000 * S)
        async with made.client.get(long, headers={"Range": f"bytes={first}-{end - 1}"}) as answer:
            assert shown_at(index.head, await answer.read(), 5000 * S) == 5000 * film.fps
        await made.problem(url(T0 - 3600 * S, T0), "no-footage")
        await made.problem(url(T0 - 40 * DAY_S * S, T0), "range-too-long")
