"""Every kind of hole, made in one volume by the real store, and every way to ask why: they all say the same words."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, HARDWARE, SERVER, T0, Listener, S, record, scene, stored, video_clip

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.cause_words import WORDS, sentence
from mediadb.errors import ChunkCorrupt
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import RealFs
from mediadb.movie.export import ExportRequest, export_camera
from mediadb.read.reader import Reader
from mediadb.tools.main import main as mediadb
from mediadb.types import Cause, Names, Sample, State, TrackKind, TrackSpec
from recorderd.cli.show import cause as shown
from recorderd.core.clock import FakeClock
from recorderd.core.timerange import format_time
from recorderd.engine.stream import track_id
from recorderd.server.stream_tcp import answers

GATE = track_id(CAMERAS["gate"], "main", TrackKind.VIDEO)
SPEC = TrackSpec(GATE, CAMERAS["gate"], HARDWARE, TrackKind.VIDEO, "main")
STEP = 20 * S
SAID = [
    (State(state), reason) for state, reason in WORDS
    if state in ("camera-offline", "storage-error", "overload-shed", "network-loss", "clock-step", "not-scheduled")
    and reason not in ("", "segment-missing", "segment-damaged", "chunk-damaged", "not-configured", "future")
]  # fmt: skip


@dataclass
class Life:
    """A camera's life: `expected` is what holds at which moment."""

    volume: Path
    clock: FakeClock
    listener: Listener = field(default_factory=Listener)
    expected: list[tuple[int, str, str]] = field(default_factory=list)
    store: AsyncStore | None = None

    async def open(self) -> AsyncStore:
        options = StoreOptions(commit_us=10**12, slot_us=20_000, segment_us=10**12, create=True)
        self.store = await AsyncStore.open(
            self.volume, "main", server=SERVER, clock=self.clock, options=options, listener=self.listener
        )
        return self.store

    @property
    def now_us(self) -> int:
        return self.clock.utc_us()

    def holds(self, state: str, reason: str, at_us: int | None = None) -> None:
        self.expected.append((self.now_us if at_us is None else at_us, state, reason))

    async def film(self, **more: Any) -> int:
        """Eight seconds of footage from now on; returns the middle of them."""
        assert self.store is not None
        start_us = self.now_us
        await record(self.store, "gate", end=80, audio=False, shift_us=start_us - T0, new_run=True, **more)
        self.clock.advance(8 * S)
        return start_us + 4 * S


async def said_by_the_engine(life: Life) -> None:
    """What the engine states with a transition or a closed gap: one after the other."""
    assert life.store is not None
    writer = life.store.track(SPEC, Names("gate", "box"))
    for state, reason in SAID:
        writer.cover(life.now_us, Cause(state, reason))
        life.holds(str(state), reason, life.now_us + STEP // 2)
        life.clock.advance(STEP)
    writer.cover(life.now_us, Cause(State.CAMERA_OFFLINE, "stall"))
    await life.store.flush()


async def lossy(life: Life) -> None:
    """A sample that counts lost packets behind a hole, and damaged ones."""
    assert life.store is not None
    life.holds("recorded", "", await life.film())
    writer = life.store.track(SPEC, Names("gate", "box"))
    writer.config(stored(video_clip()))
    life.clock.advance(5 * S)
    life.holds("network-loss", "packets-lost", life.now_us - 3 * S)
    for number, (data, pts, dts, key) in enumerate(video_clip().samples[:20]):
        at = life.now_us + number * 100_000
        lost = 3 if number in (0, 5) else 0
        writer.append(Sample(data, pts, dts, 1 if key else 0, at, lost_packets=lost, damaged=number == 5))
    life.clock.advance(2 * S)
    life.holds("recorded", "", life.now_us - S)
    await life.store.flush()


async def restarts(life: Life, folder: Path) -> None:
    """A clean stop, then a crash: a copy of the volume taken while it is written."""
    assert life.store is not None
    await life.store.close()
    life.holds("server-down", "stop", life.now_us + STEP // 2)
    life.clock.advance(STEP)
    store = await life.open()
    life.holds("recorded", "", await life.film())
    await asyncio.to_thread(shutil.copytree, life.volume, folder / "crashed")
    await store.close()
    life.volume = folder / "crashed"
    life.holds("server-down", "crash", life.now_us + STEP // 2)
    life.clock.advance(STEP)
    await life.open()


async def files(life: Life) -> list[Path]:
    """One segment per session of the store; returns those made here, in order."""
    made: list[Path] = []
    for _ in range(7):
        assert life.store is not None
        before = set(life.volume.rglob("*.rseg"))
        middle = await life.film()
        await life.store.close()
        made.append(max(set(life.volume.rglob("*.rseg")) - before))  # beside it may be what the crash left
        life.expected.append((middle, "", ""))
        await life.open()
    return made


async def removed(life: Life, paths: list[Path], middles: list[int]) -> None:
    """By each rule, as reclaim writes it down; one thinned out."""
    assert life.store is not None
    ledger = life.store._thread.writer.ledger
    for path, middle, rule in zip(paths, middles, ("age", "size", "space", "keyframes"), strict=True):
        groomed = rule == "keyframes"
        spans = [[middle - 5 * S, middle + (1 if rule == "size" else 5) * S]]
        body = {"segment": str(uuid.uuid4()), "name": path.stem, "state": "groomed" if groomed else "deleted",
                "rule": rule, "bytes": 1, "tracks": [{"track": str(GATE), "spans": spans}]}  # fmt: skip
        ledger.add(LedgerKind.GROOMED if groomed else LedgerKind.REMOVED, life.now_us, body)
        if rule == "size":
            spans = [[middle + S, middle + 5 * S]]
            more = {**body, "rule": "camera-size", "tracks": [{"track": str(GATE), "spans": spans}]}
            ledger.add(LedgerKind.REMOVED, life.now_us, more)
        path.unlink()
        life.store.reader.removed(path)
    await life.store.flush()


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    made = Life(tmp_path / "volume", FakeClock(T0))
    made.holds("not-scheduled", "not-configured", T0 - S)
    store = await made.open()
    made.clock.advance(S)
    await said_by_the_engine(made)
    await lossy(made)
    await restarts(made, tmp_path)
    made.expected, known = [], made.expected
    paths = await files(made)
    middles = [at for at, _, _ in made.expected]
    made.expected = known
    assert (len(paths), made.store is store) == (7, False)
    await removed(made, paths[:4], middles[:4])
    for middle, rule in zip(middles, ("age", "size", "space"), strict=False):
        made.holds("deleted", rule, middle)
        if rule == "size":
            made.holds("deleted", "camera-size", middle + 3 * S // 2)
    made.holds("groomed", "keyframes", middles[3])
    paths[4].unlink()
    made.holds("storage-error", "segment-missing", middles[4])
    paths[5].write_bytes(paths[5].read_bytes()[:5000])
    made.holds("storage-error", "segment-damaged", middles[5])
    await flipped(made, paths[6], middles[6])
    made.holds("not-scheduled", "future", made.now_us + STEP)
    yield made
    if made.store is not None:
        await made.store.close()


async def flipped(life: Life, path: Path, middle: int) -> None:
    """A byte of the chunk that holds `middle`, met by a read."""
    store = life.store
    assert store is not None
    refs = await store.read(lambda: list(store.reader.chunks(GATE, middle, middle + 1)))
    ref = next(ref for ref in refs if ref.recv_us <= middle < ref.end_us)
    _flip(path, ref.row.offset + ref.row.length - 9)
    with pytest.raises(ChunkCorrupt):
        await store.read(store.reader.read, ref)
    await store.flush()
    life.holds("storage-error", "chunk-damaged", middle)


def _flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


async def test_every_way_to_ask_says_the_same_of_every_hole(
    life: Life, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert life.store is not None
    now_us, low = life.now_us, T0 - 2 * S
    async with scene(tmp_path / "other", stores={"main": life.store}, clock=life.clock) as made:
        window = f"start={format_time(low)}&end={format_time(now_us)}"
        (track,) = (await made.json(f"/api/v1/cameras/gate/coverage?{window}"))["tracks"]
        everyone = (await made.json(f"/api/v1/coverage?cameras=gate&{window}"))["cameras"][0]["intervals"]
        assert track["intervals"] == everyone
        pulled = await answers.coverage(made.deps, [made.engine.camera("gate")], (low, now_us))
        offline = Reader.open_offline(life.volume, "main", lambda: now_us)
        request = ExportRequest(CAMERAS["gate"], low, now_us, tmp_path / "export")
        manifest = json.loads(export_camera(offline, RealFs(), request).manifest.read_text())
        answer = {
            "stream API": [(i["start_us"], i["state"], i["reason"]) for i in pulled["cameras"][0]["intervals"]],
            "manifest": [(i["start_us"], i["state"], i["reason"]) for i in manifest["tracks"][0]["coverage"]],
            "offline": [
                (i.start_us, str(i.cause.state), i.cause.reason) for i in offline.coverage([GATE], low, now_us)[GATE]
            ],
        }
        offline.close()
        assert answer["stream API"] == answer["manifest"] == answer["offline"]
        assert [(one["state"], one["reason"]) for one in everyone] == [one[1:] for one in answer["offline"]]
        for at, state, reason in life.expected:
            why = await made.json(f"/api/v1/cameras/gate/why?time={format_time(at)}")
            assert (why["state"], why["reason"]) == (state, reason), f"{(at - T0) / S} s"
            if at < now_us:
                inside = [one for one in answer["offline"] if one[0] <= at][-1]
                assert inside[1:] == (state, reason)
            assert shown(why).startswith(f"{state} ({reason})" if reason else state)
            assert len(sentence(state, reason)) > 15
        states = {one["state"] for one in everyone}
    assert not states & {"unexplained"}
    capsys.readouterr()
    at, state, reason = life.expected[-2]
    assert await asyncio.to_thread(mediadb, ["why", str(life.volume), "gate", format_time(at)]) == 0
    said = capsys.readouterr().out
    assert f"{state} ({reason})" in said
    assert sentence(state, reason) in said


async def test_the_kinds_made_here_are_all_there_are(life: Life) -> None:
    made = {state for _, state, _ in life.expected} | {"retrieved"}  # lanes: tests of late footage
    assert {str(state) for state in State} - made == {"on-remote", "requested", "unexplained"}
    assert {(state, reason) for _, state, reason in life.expected} >= {
        key for key in WORDS if key[0] in ("storage-error", "camera-offline", "deleted", "clock-step") and key[1]
    }
