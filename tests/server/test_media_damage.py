"""One damaged chunk: never its bytes, never the end of the rest."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import av
import pytest
from aiohttp import ClientPayloadError
from server_scene import CAMERAS, T0, S, Scene, record, scene, video_clip

from mediadb.fs import RealFs
from mediadb.tools.verify import verify_export
from mediadb.types import TrackKind
from recorderd.cli.client import Client
from recorderd.cli.export import Order, export
from recorderd.core.timerange import format_time
from recorderd.engine.stream import track_id

TIMES = f"start={format_time(T0)}&end={format_time(T0 + 10 * S)}"
MOVIE = f"/api/v1/cameras/gate/media.mp4?{TIMES}"
MAP = f"/api/v1/cameras/gate/media.json?{TIMES}"
TRACK = track_id(CAMERAS["gate"], "main", TrackKind.VIDEO)


async def filmed(made: Scene) -> None:
    """Ten seconds, sealed every three."""
    for second in range(10):
        made.clock.advance(S)
        await record(made.store, "gate", start=second * 10, end=second * 10 + 10, audio=False)


def damage(folder: Path, made: Scene, number: int) -> Any:
    """Flip a bit in the payload of the `number`-th chunk (KEY and DELTA take turns, a pair a second)."""
    ref = list(made.store.reader.chunks(TRACK, T0, T0 + 10 * S))[number]
    path = folder / "volume" / f"{ref.name}.rseg"
    patience = time.monotonic() + 30
    while not path.exists() and time.monotonic() < patience:
        time.sleep(0.01)  # sealed on a thread of its own
    raw = bytearray(path.read_bytes())
    raw[ref.row.offset + ref.row.length - 3] ^= 1
    path.write_bytes(raw)
    return ref


async def packets(made: Scene) -> list[bytes]:
    async with made.client.get(MOVIE) as answer:
        assert answer.status == 200, await answer.text()
        body = await answer.read()
    with av.open(io.BytesIO(body)) as container:
        assert float(container.duration / av.time_base) == 10.0
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


async def test_the_first_request_fails_and_the_next_gives_all_the_rest(tmp_path: Path) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        await filmed(made)
        ref = damage(tmp_path, made, 3)  # the DELTA of the second second
        assert (await made.json(MAP))["gaps"] == []
        problem = await made.problem(MOVIE, "footage-damaged")
        assert problem["params"]["file"] == ref.name
        sent = [data for data, _, _, _ in video_clip().samples]
        assert await packets(made) == sent[:11] + sent[20:]
        (gap,) = (await made.json(MAP))["gaps"]
        assert (gap["state"], gap["reason"]) == ("storage-error", "chunk-damaged")
        assert (gap["start"], gap["end"]) == (format_time(ref.recv_us), format_time(T0 + 2 * S))
        async with made.client.get(MOVIE, headers={"Range": "bytes=0-"}) as answer:
            assert answer.status == 206


async def test_a_player_that_asks_for_ranges_begins_again(tmp_path: Path) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        await filmed(made)
        damage(tmp_path, made, 3)
        await made.problem(MOVIE, "footage-damaged", headers={"Range": "bytes=0-"})
        await made.problem(MOVIE, "footage-reclaimed", headers={"Range": "bytes=50-99"})
        async with made.client.get(MOVIE, headers={"Range": "bytes=0-"}) as answer:
            assert answer.status == 206
            body, etag = await answer.read(), answer.headers["ETag"]
        async with made.client.get(MOVIE, headers={"Range": "bytes=50-99"}) as answer:
            assert (answer.headers["ETag"], await answer.read()) == (etag, body[50:100])


async def test_damage_far_into_the_file_breaks_off_one_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorderd.server.http.byte_answer.PIECE_BYTES", 512)
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        await filmed(made)
        damage(tmp_path, made, 12)  # a KEY: its whole group goes
        with pytest.raises(ClientPayloadError):
            async with made.client.get(MOVIE) as answer:
                await answer.read()
        sent = [data for data, _, _, _ in video_clip().samples]
        assert await packets(made) == sent[:60] + sent[70:]


async def test_nothing_but_damage_is_damage(tmp_path: Path) -> None:
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        await filmed(made)
        damage(tmp_path, made, 0)
        damage(tmp_path, made, 1)
        url = MOVIE.replace(format_time(T0 + 10 * S), format_time(T0 + S))
        await made.problem(url, "footage-damaged")
        await made.problem(url, "footage-damaged")


async def test_an_export_through_the_server_stands_the_check_of_the_database(tmp_path: Path) -> None:
    """With damage in two segments: one met before the first byte, one after."""
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        await filmed(made)
        damage(tmp_path, made, 3)
        damage(tmp_path, made, 12)
        out = tmp_path / "out"
        async with Client(str(made.client.make_url("/"))) as client:
            assert await export(client, Order(("gate",), T0, T0 + 10 * S, out), True) == 1
        (path,) = out.glob("*.mp4")
        verdict = verify_export(RealFs(), path.with_suffix(".json"))
        assert (verdict.findings, verdict.samples) == ([], 100 - 9 - 10)
        record = json.loads(path.with_suffix(".json").read_text())
        assert len(record["skipped"]) == 2
        assert record["tracks"][0]["recorded_us"] == 8_100_000  # a DELTA of 0.9 s, a KEY and what needs it
