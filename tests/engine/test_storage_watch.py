"""What a storage's trouble means for its state and for the tracks that record to it."""

from __future__ import annotations

import pytest
from engine_fakes import FakeEvents, FakeStore
from test_track import Bench

from mediadb.types import Cause, State
from recorderd.core.clock import FakeClock
from recorderd.engine.storage import StorageWatch

pytestmark = pytest.mark.fast
FULL = Cause(State.STORAGE_ERROR, "storage-error")


def recording() -> Bench:
    bench = Bench()
    bench.track.record(True)
    return bench


@pytest.mark.parametrize("code", ["ledger-error", "segment-not-created", "storage-full"])
def test_trouble_that_commits_survive_is_a_degraded_state(code: str) -> None:
    events = FakeEvents()
    watch = StorageWatch("main", "/m", FakeClock(), events)
    watch.opened(FakeStore())
    for _ in range(3):
        watch.trouble(code, {"text": "No space left on device"})
    view = watch.view()
    assert (view.state, view.code, view.params["text"]) == ("degraded", code, "No space left on device")
    assert watch.cause is None, "media are still taken"
    watch.trouble("storage-error", {})
    assert watch.view().state == "error"
    watch.trouble("storage-recovered", {})
    assert watch.view().state == "degraded"
    watch.trouble("storage-recovered", {"of": code})
    assert (watch.view().state, watch.view().code) == ("ok", "")
    assert events.codes() == [code, "storage-error", "storage-recovered", "storage-recovered"]


def test_a_track_without_media_says_storage_error_too() -> None:
    bench = recording()
    bench.track.storage(FULL)
    assert bench.track.cause is FULL
    bench.track.offline("refused", {})
    assert bench.track.cause is FULL
    bench.track.record(True)
    assert bench.track.cause is FULL
    bench.track.storage(None)
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "connecting")


def test_what_the_camera_does_holds_again_after_the_trouble() -> None:
    bench = recording()
    bench.play(10)
    bench.track.storage(FULL)
    bench.track.offline("stall", {})
    assert bench.track.cause is FULL
    bench.track.storage(None)
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "stall")


def test_trouble_never_touches_a_track_that_shall_not_record() -> None:
    bench = Bench()
    bench.track.record(False)
    bench.track.storage(FULL)
    assert bench.writer.states[-1] == (State.NOT_SCHEDULED, "record-never")


def test_a_disk_that_does_not_answer_is_a_state_of_its_own() -> None:
    events, clock = FakeEvents(), FakeClock()
    watch = StorageWatch("main", "/m", clock, events)
    watch.opened(FakeStore())
    watch.trouble("storage-slow", {"took_us": 2_000_000})
    for _ in range(3):
        watch.trouble("storage-stalled", {"waiting_us": 5_000_000, "step": "fdatasync"})
    view = watch.view()
    assert (view.state, view.code, view.params["step"]) == ("stalled", "storage-stalled", "fdatasync")
    watch.trouble("storage-error", {"reason": "io-error"})
    assert (watch.view().state, watch.view().code) == ("error", "io-error")
    watch.trouble("storage-recovered", {})
    assert watch.view().state == "stalled"
    watch.trouble("storage-recovered", {"of": "storage-stalled", "lasted_us": 30_000_000})
    assert (watch.view().state, watch.view().code) == ("degraded", "storage-slow")
    watch.trouble("storage-recovered", {"of": "storage-slow"})
    assert watch.view().state == "ok"
    assert events.codes() == [
        "storage-slow", "storage-stalled", "storage-error", "storage-recovered", "storage-recovered",
        "storage-recovered",
    ]  # fmt: skip


def test_a_lost_mount_is_called_missing() -> None:
    watch = StorageWatch("main", "/m", FakeClock(), FakeEvents())
    watch.opened(FakeStore())
    watch.trouble("storage-error", {"reason": "storage-missing", "path": "/m"})
    assert watch.view().state == "missing"


def test_a_track_says_why_while_the_disk_does_not_answer() -> None:
    bench = recording()
    bench.play(10)
    watch = StorageWatch("main", "/m", FakeClock(), FakeEvents())
    watch.opened(FakeStore())
    watch.join(bench.track)  # type: ignore[arg-type]
    watch.trouble("storage-stalled", {"waiting_us": 5_000_000})
    assert (bench.track.cause.state, bench.track.cause.reason) == (State.STORAGE_ERROR, "storage-stalled")
    watch.trouble("storage-recovered", {"of": "storage-stalled"})
    assert bench.track.cause.state is State.RECORDED


def test_a_writer_that_failed_is_a_storage_in_error_until_something_is_durable_again() -> None:
    events = FakeEvents()
    watch = StorageWatch("main", "/m", FakeClock(), events)
    watch.opened(FakeStore())
    for _ in range(3):
        watch.trouble("writer-failed", {"reason": "writer-error", "text": "KeyError()"})
    assert (watch.view().state, watch.view().code) == ("error", "writer-error")
    watch.trouble("storage-recovered", {})
    assert watch.view().state == "ok"
    assert events.codes() == ["writer-failed", "storage-recovered"]


def test_a_disk_that_opens_and_fails_again_and_again_is_told_of_once() -> None:
    events = FakeEvents()
    watch = StorageWatch("main", "/m", FakeClock(), events)
    watch.opened(FakeStore())
    for _ in range(2):
        watch.trouble("storage-error", {"reason": "io-error"})
        for _ in range(5):
            watch.trouble("storage-let-go", {})
        watch.trouble("storage-recovered", {})
    assert events.codes() == ["storage-error", "storage-let-go", "storage-recovered"] * 2


def test_a_volume_that_is_not_there_says_so_until_another_stands_in() -> None:
    """Opened so that another storage may stand in: before one does, nothing may be called recorded."""
    watch = StorageWatch("main", "/m", FakeClock(), FakeEvents())
    watch.trouble("storage-error", {"reason": "storage-foreign"})
    absent = FakeStore()
    absent.away = True
    watch.opened(absent)
    assert watch.view().code == "storage-foreign"
    assert watch.cause == Cause(State.STORAGE_ERROR, "storage-foreign", {"reason": "storage-foreign"})
    watch.trouble("storage-recovered", {})
    assert (watch.cause, watch.view().code) == (None, "")
