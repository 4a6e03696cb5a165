"""One hardware: connects, backs off, comes back; in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from engine_fakes import Rig, config, device

from mediadb.types import State
from recorderd.config.schema import CameraConfig, StreamConfig
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, StreamLost

pytestmark = [pytest.mark.looptime, pytest.mark.fast]


async def test_records_from_the_first_key(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(10)
    view = rig.engine.camera("one")
    assert (view.state, view.connected) == ("recorded", True)
    assert rig.video.states == [(State.CAMERA_OFFLINE, "connecting"), (State.RECORDED, "")]
    assert rig.video.covers[1][0] == rig.video.samples[0].recv_us
    assert len(rig.video.samples) == rig.driver.device().units["main"].number
    assert rig.events.codes() == ["camera-online"]
    assert view.streams[0].fps == pytest.approx(25, abs=2.5)
    assert view.streams[0].codec_string.startswith("avc1.")


@pytest.mark.parametrize("reason", ["refused", "timeout", "dns"])
async def test_unreachable_backs_off_and_stays_small(rig: Rig, reason: str) -> None:
    """An hour without the camera: at most one attempt a minute in the end, nothing piles up."""
    rig.driver.device().connect_error = DeviceUnavailable("gone", reason)
    await rig.start()
    await asyncio.sleep(600)
    tasks, attempts = len(asyncio.all_tasks()), rig.driver.device().attempts
    await asyncio.sleep(3_000)
    times = rig.driver.device().attempt_times
    assert len(asyncio.all_tasks()) == tasks
    assert all(later - earlier <= 61 for earlier, later in itertools.pairwise(times))
    assert 50 <= rig.driver.device().attempts - attempts <= 200
    assert rig.video.states == [(State.CAMERA_OFFLINE, "connecting"), (State.CAMERA_OFFLINE, reason)]
    assert rig.events.codes() == ["camera-offline", "not-recording"]
    assert rig.engine.hardware()[0].state == "offline"
    assert rig.engine.hardware()[0].retry_us is not None


async def test_backoff_grows_and_is_forgotten_after_media(rig: Rig) -> None:
    camera = rig.driver.device()
    camera.connect_error = DeviceUnavailable("gone", "refused")
    await rig.start()
    await asyncio.sleep(900)
    camera.connect_error = None
    await asyncio.sleep(120)
    assert rig.engine.camera("one").connected
    camera.lose(StreamLost("closed by peer", "closed"))
    await asyncio.sleep(3)
    assert rig.engine.camera("one").connected, "after 30 s of media the first retry comes within a second"


async def test_wrong_password_is_never_a_storm(rig: Rig) -> None:
    camera = rig.driver.device()
    camera.connect_error = DeviceAuthFailed("refused twice")
    await rig.start()
    await asyncio.sleep(3_600)
    assert camera.attempts == 4  # at 0, 15, 30, 45 minutes
    assert rig.events.of("auth-failed") == [{"reason": "auth-failed"}] * 4
    assert rig.video.states[-1] == (State.CAMERA_OFFLINE, "auth-failed")
    assert rig.engine.hardware()[0].state == "auth-failed"


async def test_a_refused_login_is_sent_once_until_it_worked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, told, connect = rig.driver.device(), list[bool](), rig.driver.connect

    def listening(address: Any, settings: Any, host: Any) -> Any:
        told.append(address.refused)
        return connect(address, settings, host)

    monkeypatch.setattr(rig.driver, "connect", listening)
    camera.connect_error = DeviceAuthFailed("refused twice")
    await rig.start()
    await asyncio.sleep(1_000)
    camera.connect_error = None
    await asyncio.sleep(1_000)
    camera.lose(StreamLost("closed by peer", "closed"))
    camera.connect_error = DeviceUnavailable("gone", "refused")
    await asyncio.sleep(30)
    assert told[:3] == [False, True, True]
    assert len(told) > 3
    assert not any(told[3:])


async def test_reload_tries_a_refused_password_once(rig: Rig) -> None:
    from recorderd.config.diff import diff

    camera = rig.driver.device()
    camera.connect_error = DeviceAuthFailed("refused twice")
    await rig.start()
    await asyncio.sleep(60)
    assert camera.attempts == 1
    await rig.engine.apply(diff(rig.config, rig.config), rig.config)
    await asyncio.sleep(60)
    assert camera.attempts == 2
    camera.connect_error = None
    await rig.engine.apply(diff(rig.config, rig.config), rig.config)
    await asyncio.sleep(5)
    assert rig.engine.camera("one").state == "recorded"


async def test_refused_stream_ends_the_session_for_all_streams(rig: Rig) -> None:
    both = CameraConfig("one", storage="main", streams=(StreamConfig("main"), StreamConfig("sub", "/sub")))
    camera = rig.driver.device()
    camera.start_error = {"main": DeviceAuthFailed("no"), "sub": DeviceAuthFailed("no")}
    await rig.start(config(device("one", both)))
    await asyncio.sleep(600)
    assert camera.attempts == 1
    assert camera.starts <= 2


async def test_one_refused_stream_ends_the_running_ones_too(rig: Rig) -> None:
    """The credentials are the device's, not the stream's: no further attempt with them for 15 minutes."""
    both = CameraConfig("one", storage="main", streams=(StreamConfig("main"), StreamConfig("sub", "/sub")))
    camera = rig.driver.device()
    camera.start_error = {"main": DeviceAuthFailed("no")}
    await rig.start(config(device("one", both)))
    await asyncio.sleep(600)
    assert camera.attempts == 1
    assert "sub" not in camera.streams or camera.streams["sub"].stopped == 1
    assert camera.connected == 0


async def test_threads_of_a_session_end_with_it(rig: Rig) -> None:
    hosts: list[Any] = []
    rig.driver.device().on_connect = hosts.append
    await rig.start()
    await asyncio.sleep(2)
    assert (await hosts[0].to_thread(threading.current_thread)).name.startswith("driver")
    await rig.engine.stop()
    with pytest.raises(RuntimeError, match="shutdown"):
        await hosts[0].to_thread(threading.current_thread)
    with pytest.raises(RuntimeError, match="stopping"):
        hosts[0].spawn("late", asyncio.sleep(1))


async def test_a_driver_that_does_not_leave_does_not_hold_up_the_stop(rig: Rig) -> None:
    camera = rig.driver.device()
    await rig.start(config(device("one"), device("two")))
    await asyncio.sleep(5)

    async def hangs() -> None:
        await asyncio.sleep(1_000)

    camera.streams["main"].stop = hangs  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    await rig.engine.stop()
    assert asyncio.get_running_loop().time() - began <= 5
    for writer in rig.store.writers.values():
        assert writer.states[-1] == (State.SERVER_DOWN, "stop")


async def test_unsupported_stops_until_reload(rig: Rig) -> None:
    from recorderd.config.diff import diff

    camera = rig.driver.device()
    camera.start_error = {"main": DeviceUnsupported("no such path", "no-path")}
    await rig.start()
    await asyncio.sleep(3_600)
    assert camera.attempts == 1
    assert rig.video.states[-1] == (State.CAMERA_OFFLINE, "no-path")
    camera.start_error = {}
    await rig.engine.apply(diff(rig.config, rig.config), rig.config)
    await asyncio.sleep(5)
    assert rig.engine.camera("one").connected


async def test_driver_bug_is_logged_once_counted_and_backed_off(
    rig: Rig, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.driver.device().connect_error = ZeroDivisionError("oops")
    await rig.start()
    await asyncio.sleep(600)
    view = rig.engine.hardware()[0]
    assert view.state == "driver-bug"
    assert 10 <= view.driver_bugs <= 60
    assert [event["kind"] for event in rig.events.of("driver-bug")] == ["ZeroDivisionError"]
    assert rig.video.states[-1] == (State.CAMERA_OFFLINE, "driver-bug")


async def test_stray_cancellation_is_a_driver_bug(rig: Rig) -> None:
    camera = rig.driver.device()
    camera.auto_media = False
    await rig.start()
    await asyncio.sleep(2)
    camera.streams["main"].ended.cancel()
    await asyncio.sleep(2)
    assert [event["kind"] for event in rig.events.of("driver-bug")] == ["CancelledError"]
    assert camera.attempts == 2


async def test_a_failing_driver_does_not_touch_the_others(rig: Rig) -> None:
    rig.driver.device("fake://bad").connect_error = RuntimeError("broken")
    await rig.start(config(device("bad"), device("good")))
    await asyncio.sleep(60)
    good = rig.engine.camera("good")
    writer = rig.store.of(camera=good.id)
    assert [state for state, _ in writer.states] == [State.CAMERA_OFFLINE, State.RECORDED]
    assert len(writer.samples) >= 59 * 25
    assert rig.driver.device("fake://good").attempts == 1


async def test_lost_sub_stream_leaves_the_main_stream_alone(rig: Rig) -> None:
    both = CameraConfig("one", storage="main", streams=(StreamConfig("main"), StreamConfig("sub", "/sub")))
    await rig.start(config(device("one", both)))
    await asyncio.sleep(40)
    camera = rig.driver.device()
    main = camera.streams["main"]
    camera.lose(StreamLost("stall", "stall"), "sub")
    await asyncio.sleep(5)
    assert camera.streams["main"] is main
    assert camera.attempts == 1
    assert rig.store.of("sub").states[-3:] == [
        (State.RECORDED, ""),
        (State.CAMERA_OFFLINE, "stall"),
        (State.RECORDED, ""),
    ]
    assert [state for state, _ in rig.video.states] == [State.CAMERA_OFFLINE, State.RECORDED]
    assert rig.events.codes() == ["camera-online"]


async def test_unsupported_sub_stream_waits_alone(rig: Rig) -> None:
    both = CameraConfig("one", storage="main", streams=(StreamConfig("main"), StreamConfig("sub")))
    camera = rig.driver.device()
    camera.start_error = {"sub": DeviceUnsupported("no path", "no-path")}
    await rig.start(config(device("one", both)))
    await asyncio.sleep(100)
    assert camera.attempts == 1
    assert camera.starts == 2
    assert rig.engine.camera("one").state == "recorded"
    camera.lose(StreamLost("closed", "closed"))
    await asyncio.sleep(30)
    assert rig.engine.camera("one").connected


async def test_at_most_eight_handshakes(rig: Rig) -> None:
    names = [f"cam{number}" for number in range(50)]
    for name in names:
        rig.driver.device(f"fake://{name}").handshake_s = 1.0
    await rig.start(config(*(device(name) for name in names)))
    seen = 0
    for _ in range(100):
        await asyncio.sleep(0.1)
        seen = max(seen, rig.engine.handshakes_running)
    assert seen == 8
    assert all(view.connected for view in rig.engine.cameras())


async def test_a_hanging_handshake_is_a_timeout(rig: Rig) -> None:
    rig.driver.device().handshake_s = 10_000
    await rig.start()
    await asyncio.sleep(40)
    assert rig.video.states[-1] == (State.CAMERA_OFFLINE, "timeout")


async def test_stop_leaves_the_device_and_says_why(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(5)
    stream = rig.driver.device().streams["main"]
    await rig.engine.stop()
    assert stream.stopped == 1
    assert (rig.driver.device().connected, rig.driver.device().left) == (0, 1)
    assert rig.video.states[-1] == (State.SERVER_DOWN, "stop")
    assert rig.video.states[-2] == (State.RECORDED, "")


async def test_what_the_driver_spawned_ends_with_the_session(rig: Rig) -> None:
    """Host.spawn is supervised: nothing outlives the session."""
    await rig.start()
    await asyncio.sleep(2)
    before = len(asyncio.all_tasks())
    for _ in range(5):
        rig.driver.device().lose(StreamLost("closed", "closed"))
        await asyncio.sleep(40)
    assert len(asyncio.all_tasks()) == before
