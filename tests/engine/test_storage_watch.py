"""What a storage's trouble means for its state and for the tracks that record to it."""

from __future__ import annotations

import pytest
from engine_fakes import FakeEvents
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
    watch.opened(watch.store)
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
