"""What a defect in the database, or a lack of memory, costs: it is said, nobody waits for ever, recording goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig
from test_async_store import Ears, feed, opened, video

from mediadb.write.segment import SegmentWriter
from mediadb.write.segment_chunk import add_sample
from mediadb.write.store import LogWriter


async def test_whoever_waits_for_a_call_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ears = Ears()
    store = await opened(tmp_path, ears)
    monkeypatch.setattr(LogWriter, "close", lambda *_: 1 // 0)
    lost = await asyncio.wait_for(store.close(), 30)
    assert "ZeroDivisionError" in lost[0]
    monkeypatch.undo()
    again = await opened(tmp_path, Ears())  # the lock was given back
    await again.close()


@pytest.mark.fast
def test_one_sample_that_cannot_be_taken_costs_that_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples of all other cameras in the same slot are written, and the next commit as ever."""
    recorder = Rig(FaultFs())
    tracks = [recorder.track(number) for number in range(3)]
    real = add_sample

    def picky(track, sample, stamp):  # type: ignore[no-untyped-def]
        if track is tracks[1] and sample.dts == 2 * rig.TICKS:
            raise ZeroDivisionError("a defect")
        return real(track, sample, stamp)

    monkeypatch.setattr("mediadb.write.store.add_sample", picky)
    items = [(track, rig.frame(track.spec.track, n)) for n in range(10) for track in tracks]
    bad = len(rig.frame(tracks[1].spec.track, 2).data)
    recorder.writer.take(items, recorder.now)
    recorder.commit()
    assert [recorder.acked[track.spec.track] for track in tracks] == [10, 9, 10]
    assert recorder.refused_bytes == bad, "its memory is given back"
    assert recorder.troubles[0][0] == "sample-failed"
    assert "a defect" in str(recorder.troubles[0][1]["text"])
    recorder.close()


@pytest.mark.fast
@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("a defect")])
def test_a_commit_that_cannot_be_made_is_trouble_of_the_storage_and_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = FaultFs()
    recorder = Rig(fs)
    recorder.frames(0, 10)
    recorder.commit()
    real = SegmentWriter.append

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(SegmentWriter, "append", fails)
    recorder.frames(10, 10)
    recorder.commit()
    assert recorder.writer.failed
    assert recorder.writer.reason == "writer-error"
    assert [code for code, _ in recorder.troubles] == ["storage-error"]
    assert recorder.troubles[0][1]["reason"] == "writer-error"
    recorder.frames(20, 10)
    recorder.commit(2_000_000)
    monkeypatch.setattr(SegmentWriter, "append", real)
    recorder.commit(2_000_000)
    assert not recorder.writer.failed
    assert recorder.troubles[-1][0] == "storage-recovered"
    assert recorder.acked[rig.track_id(0)] == 30
    assert recorder.close() == []
    assert rig.numbers(fs, rig.track_id(0)) == list(range(30))


async def test_a_writer_that_ended_is_trouble_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One defect between two commits: said as what it is, and the commits behind it are durable."""
    ears = Ears()
    store = await opened(tmp_path, ears)
    writer = video(store)
    feed(writer, 0, 10)
    await store.flush()
    real = LogWriter.take
    failed = []

    def once(*args: object) -> None:
        if not failed:
            failed.append(1)
            raise ZeroDivisionError("a defect")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(LogWriter, "take", once)
    store._tick(commit=True)
    await ears.until(lambda: "writer-failed" in ears.troubles)
    feed(writer, 10, 10)
    await ears.until(lambda: sum(fact.samples for info in ears.commits for fact in info.tracks.values()) == 20)
    assert writer.committed_samples == 20
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    assert "ZeroDivisionError" in (await store.close())[0]
