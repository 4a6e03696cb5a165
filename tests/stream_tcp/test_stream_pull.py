"""`pull`: whole chunks, each once, wherever it is cut; damage and holes are said; the table is read by hand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediadb.read.reader import ChunkRef
from mediadb.types import Cause, Names, Sample, State, TrackKind, TrackSpec
from recorderd.engine.sample_entry import track_config
from recorderd.engine.stream import track_id
from tests.server.server_scene import HARDWARE, T0, S, audio_clip, record, video_clip
from tests.stream_tcp.raw_peer import (
    CHUNK,
    CONFIG,
    CREDIT,
    ENDED,
    HOLE,
    KEY,
    OK,
    PING,
    PONG,
    POSITION,
    PULL,
    UNIT,
    Got,
    Peer,
)
from tests.stream_tcp.stream_scene import StreamScene, camera_id, stream_scene

VIDEO = track_id(camera_id(), "main", TrackKind.VIDEO)
AUDIO = track_id(camera_id(), "main", TrackKind.AUDIO)
FORMS = {0x01: "B", 0x81: "b", 0x02: "H", 0x82: "h", 0x04: "I", 0x84: "i"}


def columns(table: bytes, n: int) -> list[list[int]]:
    """As the document says it, in our own words."""
    found, at = [], 0
    for number in range(5):
        rows = max(n - 1, 1) if number == 0 else n
        code, at = table[at], at + 1
        stored = 1 if code & 0x40 else rows
        form = "<" + str(stored) + FORMS[code & ~0x40]
        values = list(struct.unpack_from(form, table, at))
        at += struct.calcsize(form)
        found.append(values * rows if code & 0x40 else values)
    assert at == len(table)
    return found


def samples(chunk: Got) -> list[tuple[bytes, int, int]]:
    """(data, pts, dts) of a chunk."""
    head, at, dts, out = chunk.head, 0, chunk.head["base_dts"], []
    deltas, cts, sizes, _, _ = columns(head["table"], head["n"])
    for k in range(head["n"]):
        dts += deltas[k - 1] if k else 0
        out.append((chunk.payload[at : at + sizes[k]], dts + cts[k], dts))
        at += sizes[k]
    assert at == len(chunk.payload)
    return out


async def pulled(peer: Peer, number: int = 1, **head: Any) -> list[Got]:
    peer.send(PULL, number, camera="gate", **head)
    assert (await peer.next()).type == OK
    return await peer.until(ENDED)


def media(got: list[Got], track: object = VIDEO) -> list[tuple[bytes, int, int]]:
    return [one for chunk in got if chunk.type == CHUNK and chunk.head["track"] == str(track) for one in samples(chunk)]


async def test_every_frame_with_its_proof(scene: StreamScene) -> None:
    got = await pulled(await scene.peer(), tracks=["video", "audio"])
    assert got[0].type == CONFIG
    assert (got[-2].type, got[-2].head["end"], got[-1].head) == (POSITION, "end", {"reason": "end"})
    assert media(got) == [(data, pts, dts) for data, pts, dts, _ in video_clip().samples[:100]]
    assert media(got, AUDIO) == [(data, pts, dts) for data, pts, dts, _ in audio_clip().samples[:156]]
    chunks = [one for one in got if one.type == CHUNK]
    for chunk in chunks:
        assert hashlib.sha256(chunk.head["salt"] + chunk.payload).digest() == chunk.head["sha256"]
    video = [one for one in chunks if one.head["kind"] == "video"]
    assert [one.head["seq"] for one in video] == list(range(len(video)))
    assert [bool(one.flags & KEY) for one in video] == [one.head["gop"] == one.head["seq"] for one in video]
    assert video[0].head["recv_us"] == T0
    assert video[-1].head["end_us"] == T0 + 10 * S
    assert "gop" not in next(one for one in chunks if one.head["kind"] == "audio").head


async def test_the_range_begins_at_a_key_and_ends_in_time(scene: StreamScene) -> None:
    got = await pulled(await scene.peer(), start_us=T0 + 2_550_000, end_us=T0 + 5 * S)
    assert [dts // 9000 for *_, dts in media(got)] == list(range(20, 50))
    peer = await scene.peer()
    for span in ({"start_us": 0, "end_us": 5}, {"start_us": T0 + 3600 * S}, {"end_us": T0 - S}):
        assert [one.type for one in await pulled(peer, **span)] == [POSITION, ENDED]
    assert [one.type for one in await pulled(peer, stream="sub")] == [POSITION, ENDED]


async def test_cut_anywhere_it_goes_on_frame_equal(tmp_path: Path) -> None:
    """Two runs of the server, a gap between them, two tracks: after each chunk cut and taken up by another peer."""
    async with stream_scene(tmp_path) as first:
        await record(first.store, "gate", end=20)
    async with stream_scene(tmp_path) as scene:
        await record(scene.store, "gate", start=20, end=30, shift_us=7 * S, new_run=True)
        whole = await pulled(await scene.peer(), tracks=["video", "audio"])
        chunks = [one for one in whole if one.type == CHUNK]
        assert len({one.head["run"] for one in chunks}) == 2
        assert len(media(whole)) == 30
        for cut in range(1, len(chunks) + 1):
            held = chunks[:cut]
            cursor = {one.head["track"]: one.head["cursor"] for one in held}
            rest = await pulled(peer := await scene.peer(), tracks=["video", "audio"], cursor=cursor)
            await peer.close()
            for track in (VIDEO, AUDIO):
                assert media(held, track) + media(rest, track) == media(whole, track), cut


async def test_a_cursor_inside_a_chunk_gives_the_rest_as_units(scene: StreamScene) -> None:
    peer = await scene.peer()
    chunk = next(one for one in await pulled(peer) if one.type == CHUNK and one.head["n"] == 9)
    inside = chunk.head["cursor"].rsplit(":", 1)[0] + ":3"
    rest = await pulled(peer, cursor={"x": inside}, end_us=chunk.head["end_us"])
    assert [(one.head["i"], one.payload) for one in rest if one.type == UNIT] == [
        (k, data) for k, (data, *_) in enumerate(samples(chunk)) if k > 3
    ]


async def test_bad_cursors_and_ranges(scene: StreamScene) -> None:
    peer = await scene.peer()
    good = next(one for one in await pulled(peer) if one.type == CHUNK).head["cursor"]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"cursor": {"v": "nonsense"}}, "bad-cursor"),
        ({"cursor": {"v": good + "0" * 40}}, "bad-cursor"),
        ({"cursor": {"v": 5}}, "bad-request"),
        ({"cursor": [good]}, "bad-request"),
        ({"cursor": {"v": good}, "tracks": ["audio"]}, "bad-cursor"),
        ({"tracks": []}, "bad-request"),
        ({"tracks": ["smell"]}, "bad-request"),
        ({"start_us": 5, "end_us": 5}, "bad-request"),
        ({"start_us": 9, "end_us": 5}, "bad-request"),
        ({"start_us": -1}, "bad-request"),
        ({"start_us": 2**63}, "bad-request"),
        ({"end_us": 1.5}, "bad-request"),
        ({"stream": "third"}, "not-found"),
        ({"camera": "nobody"}, "not-found"),
    ]
    for head, code in bad:
        peer.send(PULL, 1, **{"camera": "gate", **head})
        assert (await peer.refused(code)).sub == 1, head
    track, _, seq, index = good.split(":")
    for unknown in (f"{track}:{'0' * 15}7:{seq}:{index}", good.replace(f":{seq}:", ":99999:")):
        peer.send(PULL, 2, camera="gate", cursor={track: unknown})
        assert (await peer.next()).type == OK
        await peer.refused("bad-cursor")  # found out when the footage was looked at: the subscription was open
        assert (await peer.next()).head == {"reason": "error"}


async def test_a_storage_that_is_not_open(scene: StreamScene) -> None:
    scene.deps.stores.clear()  # type: ignore[attr-defined]
    peer = await scene.peer()
    peer.send(PULL, 1, camera="gate")
    await peer.refused("storage-unavailable")


async def test_credit_holds_it(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(PULL, 1, camera="gate", credit=1)
    first = (await peer.until(CHUNK))[-1]
    peer.send(PING)
    assert (await peer.next()).type == PONG
    peer.send(CREDIT, 1, bytes=first.length)
    assert (await peer.next()).type == CHUNK
    peer.send(PING)
    assert (await peer.next()).type == PONG
    peer.send(CREDIT, 1, bytes=1 << 24)
    await peer.until(ENDED)


async def test_follow_goes_on_with_what_becomes_durable(scene: StreamScene) -> None:
    peer = await scene.peer()
    peer.send(PULL, 1, camera="gate", follow=True, id=8)
    got = await peer.until(POSITION)
    assert (got[-1].head["end"], got[-1].head["id"]) == ("live", 8)
    for part in range(3):
        scene.clock.advance(S)
        await record(
            scene.store, "gate", start=part * 10, end=part * 10 + 10, shift_us=(10 + 2 * part) * S, new_run=True
        )
        while len(media(got)) < 110 + 10 * part:
            got.append(await peer.next())
    wanted = [*range(100), *range(30)]
    assert media(got) == [video_clip().samples[n][:3] for n in wanted]


async def test_follow_goes_on_though_the_clock_is_set_back(scene: StreamScene) -> None:
    """What is recorded now lies before what was sent last: all of it comes, once, also when time catches up."""
    peer = await scene.peer()
    peer.send(PULL, 1, camera="gate", follow=True)
    got = await peer.until(POSITION)
    wanted = list(range(100))
    for part in range(4):
        scene.clock.advance(S)
        await record(scene.store, "gate", start=part * 20, end=part * 20 + 20, shift_us=5 * S, new_run=not part)
        wanted += range(part * 20, part * 20 + 20)
        while len(media(got)) < len(wanted):
            got.append(await peer.next())
    assert media(got) == [video_clip().samples[n][:3] for n in wanted]


async def test_damage_is_a_hole_and_the_rest_comes(scene: StreamScene) -> None:
    whole = media(await pulled(peer := await scene.peer()))
    refs = list(scene.store.reader.chunks(VIDEO, T0, T0 + 10 * S))
    (segment,) = [*(scene.store.reader.volume).glob("log/**/*.open")]
    with segment.open("r+b") as file:
        file.seek(refs[3].row.offset + refs[3].row.length - 5)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    got = await pulled(peer)
    (hole,) = [one for one in got if one.type == HOLE]
    assert (hole.head["start_us"], hole.head["end_us"]) == (refs[3].recv_us, refs[3].end_us)
    assert hole.head["track"] == str(VIDEO)
    assert hole.head["causes"][0]["state"] == "storage-error"
    before = sum(ref.frame_count for ref in refs[:3])
    assert media(got) == whole[:before] + whole[before + refs[3].frame_count :]


async def big_footage(scene: StreamScene, count: int, size: int) -> list[bytes]:
    """One GOP of `count` big frames, all in one commit."""
    writer = scene.store.track(TrackSpec(VIDEO, camera_id(), HARDWARE, TrackKind.VIDEO, "main"), Names("gate", "box"))
    writer.config(track_config(video_clip().config))
    writer.cover(T0, Cause(State.RECORDED))
    made = [bytes([n]) * size for n in range(count)]
    for n, data in enumerate(made):
        writer.append(Sample(data, n * 3600, n * 3600, 0 if n else 1, T0 + n * 40_000))
    await scene.store.flush()
    return made


@pytest.mark.parametrize("call", ["stored", "read"])
async def test_a_disk_that_fails_in_mid_pull_is_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """`read`: what is sent as units is read once more, and may have gone meanwhile."""
    async with stream_scene(tmp_path) as scene:
        await big_footage(scene, 20, 100_000)
        real = getattr(scene.store.reader, call)

        def broken(ref: ChunkRef) -> object:
            if ref.seq == 1:
                raise OSError(5, "Input/output error")
            return real(ref)

        monkeypatch.setattr(scene.store.reader, call, broken)
        got = await pulled(await scene.peer(limits={"message": 1 << 20}))
        assert [one.type for one in got if one.type in (CHUNK, UNIT, HOLE)] == [CHUNK, HOLE]


async def test_a_chunk_beyond_the_limit_of_the_peer_comes_as_units(tmp_path: Path) -> None:
    async with stream_scene(tmp_path) as scene:
        made = await big_footage(scene, 20, 100_000)
        whole = await pulled(await scene.peer())
        assert [len(one.payload) for one in whole if one.type == CHUNK] == [100_000, 1_900_000]
        got = await pulled(await scene.peer(limits={"message": 1 << 20}))
        assert [one.payload for one in got if one.type == UNIT] == made[1:]
        assert max(one.length for one in got) <= 1 << 20
        last = got[-2].head["cursor"]
        assert last == next(one for one in reversed(whole) if one.type == CHUNK).head["cursor"]


async def test_a_pull_that_is_not_read_holds_little(tmp_path: Path) -> None:
    async with stream_scene(tmp_path) as scene:
        for _ in range(20):
            await big_footage(scene, 10, 100_000)
        peer = await scene.peer()
        read: Callable[..., Any] = scene.store.reader.stored
        done: list[int] = []

        def counted(ref: Any) -> Any:
            done.append(ref.data_len)
            return read(ref)

        scene.store.reader.stored = counted  # type: ignore[method-assign]
        peer.send(PULL, 1, camera="gate", credit=1)
        await peer.until(CHUNK)
        for _ in range(5):  # the tasks of the pull have every chance
            peer.send(PING)
            await peer.until(PONG)
        assert sum(done) <= 5 * 2**20 < 20 * 10**6
        peer.send(CREDIT, 1, bytes=1 << 30)
        await peer.until(ENDED)
        assert sum(done) >= 20 * 10**6
