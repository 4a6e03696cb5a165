"""What became of footage in the storage that stood in is told by its ledger: taken by a rule, lost, damaged."""

from __future__ import annotations

from pathlib import Path

import rig
from test_async_store import TestClock, feed, video
from test_store_fallback import RUN, pair, stored

from mediadb.errors import MediaDbError
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import RealFs
from mediadb.ledger import LedgerWriter, read_ledger
from mediadb.read.joined import JoinedReader
from mediadb.read.reader import Reader
from mediadb.types import Cause, State

TRACK = rig.track_id(0)


async def filmed(tmp_path: Path) -> tuple[Path, Path, int, tuple[int, int]]:
    """Out and home again, both closed: the volumes, how many frames, and which, [first, end), the second has."""
    mount, home, host, ears = await pair(tmp_path, ahead_us=60_000_000)
    writer = video(home)
    feed(writer, 0, 20)
    await home.flush()
    mount.take()
    feed(writer, 20, 10)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    feed(writer, 30, 10)
    await host.flush()
    mount.give_back()
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    number = 40
    while "moved-home" not in ears.troubles:
        feed(writer, number, 10)
        number += 10
        await home.flush()
    feed(writer, number, 15)
    await home.flush()
    assert await home.close() == []
    assert await host.close() == []
    chunks = stored(tmp_path / "other", "other")
    return mount.path, tmp_path / "other", number + 15, (chunks[0][1], chunks[-1][1] + chunks[-1][2])


def told(home: Path, host: Path, count: int, *, read: bool = False) -> list[tuple[str, int, int]]:
    """The joined answer in frames, rounded."""
    clock = TestClock()
    clock.offset_us += 60_000_000
    members = [
        Reader.open_offline(volume, storage, clock.utc_us) for volume, storage in ((home, "main"), (host, "other"))
    ]
    joined = JoinedReader(members[0], members[1:], clock.utc_us)
    try:
        if read:
            for ref in joined.chunks(TRACK, rig.T0, rig.T0 + count * rig.FRAME_US):
                try:
                    joined.read(ref)
                except MediaDbError:
                    continue
        found = joined.coverage([TRACK], rig.T0, rig.T0 + count * rig.FRAME_US)[TRACK]
    finally:
        for member in members:
            member.close()
    return [
        (_word(i.cause), round((i.start_us - rig.T0) / rig.FRAME_US), round((i.end_us - rig.T0) / rig.FRAME_US))
        for i in found
    ]


def _word(cause: Cause) -> str:
    return cause.state.value + (f" ({cause.reason})" if cause.reason else "")


def segment(host: Path) -> Path:
    (path,) = host.glob("log/other/*/*/*.rseg")
    return path


async def test_taken_by_a_rule(tmp_path: Path) -> None:
    home, host, count, (first, end) = await filmed(tmp_path)
    assert told(home, host, count) == [("recorded", 0, count)]
    path = segment(host)
    ledger = next((host / "ledger" / "other").iterdir())
    seal = next(r.body for r in read_ledger(RealFs(), ledger) if r.kind == LedgerKind.SEGMENT_SEAL)
    body = {
        "segment": seal["segment"], "name": path.stem, "state": State.DELETED.value, "rule": "age", "bytes": 1,
        "tracks": [{"track": str(TRACK), "spans": [[rig.T0 + first * rig.FRAME_US, rig.T0 + end * rig.FRAME_US]]}],
    }  # fmt: skip
    path.unlink()
    writer = LedgerWriter(RealFs(), ledger, RUN, 1)
    writer.add(LedgerKind.REMOVED, rig.T0 + 60_000_000, body)
    writer.flush(rig.T0 + 60_000_000)
    writer.close()
    assert told(home, host, count) == [("recorded", 0, first), ("deleted (age)", first, end), ("recorded", end, count)]


async def test_its_segment_is_missing(tmp_path: Path) -> None:
    home, host, count, (first, end) = await filmed(tmp_path)
    segment(host).unlink()
    assert told(home, host, count) == [
        ("recorded", 0, first), ("storage-error (segment-missing)", first, end), ("recorded", end, count),
    ]  # fmt: skip


async def test_its_bytes_are_damaged(tmp_path: Path) -> None:
    home, host, count, _ = await filmed(tmp_path)
    path = segment(host)
    raw = bytearray(path.read_bytes())
    wanted = rig.content(TRACK, 32, 300)
    at = bytes(raw).index(wanted)
    raw[at + 100] ^= 1
    path.write_bytes(raw)
    found = told(home, host, count, read=True)
    assert [state for state, _, _ in found] == ["recorded", "storage-error (chunk-damaged)", "recorded"]
    assert found[1][1] <= 32 < found[1][2]
