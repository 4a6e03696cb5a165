"""Start, reload and stop of the whole engine: what did not change is not touched."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import replace

import pytest
import structlog
from engine_fakes import AUDIO, FakeStore, FakeWriter, Rig, Units, config, device

from mediadb.types import Cause, State, TrackKind, TrackSpec
from recorderd.config.diff import diff
from recorderd.config.schema import CameraConfig, Config, StreamConfig
from recorderd.core.errors import NotFoundError
from recorderd.driverapi.errors import StreamLost
from recorderd.engine.stream import StreamRecorder, track_id
from recorderd.media.access_unit import MediaKind

pytestmark = [pytest.mark.looptime, pytest.mark.fast]


async def reload(rig: Rig, new: Config) -> None:
    plan, rig.config = diff(rig.config, new), new
    await rig.engine.apply(plan, new)


async def test_reload_does_not_touch_what_did_not_change(rig: Rig) -> None:
    await rig.start(config(device("a"), device("b"), device("c")))
    await asyncio.sleep(10)
    kept = {name: rig.driver.device(f"fake://{name}").streams["main"] for name in "abc"}
    camera = rig.engine.camera("a").id
    await reload(rig, config(device("a"), device("b", address="fake://b2"), device("d")))
    await asyncio.sleep(10)
    assert rig.driver.device("fake://a").streams["main"] is kept["a"]
    assert kept["a"].stopped == 0
    assert (kept["b"].stopped, kept["c"].stopped) == (1, 1)
    assert [view.name for view in rig.engine.cameras()] == ["a", "b", "d"]
    assert all(view.connected for view in rig.engine.cameras())
    writer = rig.store.of(camera=camera)
    assert len(writer.states) == 2
    recv = [sample.recv_us for sample in writer.samples]
    assert max(b - a for a, b in itertools.pairwise(recv)) <= 40_001


async def test_removed_camera_is_not_called_server_down(rig: Rig) -> None:
    await rig.start(config(device("a"), device("b")))
    await asyncio.sleep(5)
    gone = rig.engine.camera("b").id
    await reload(rig, config(device("a")))
    assert rig.store.of(camera=gone).states[-1] == (State.NOT_SCHEDULED, "not-configured")
    with pytest.raises(NotFoundError):
        rig.engine.camera("b")


@pytest.mark.parametrize("change", ["camera", "hardware"])
async def test_rename_keeps_connection_and_footage(rig: Rig, change: str) -> None:
    await rig.start()
    await asyncio.sleep(5)
    stream = rig.driver.device().streams["main"]
    track = rig.engine.camera("one").streams[0].tracks[0].id
    old = rig.config.hardware[0]
    camera = replace(old.cameras[0], name="renamed") if change == "camera" else old.cameras[0]
    await reload(rig, config(replace(old, cameras=(camera,), name="one" if change == "camera" else "new name")))
    await asyncio.sleep(5)
    view = rig.engine.cameras()[0]
    assert view.streams[0].tracks[0].id == track
    assert rig.driver.device().streams["main"] is stream
    assert rig.store.names[track].camera == view.name == camera.name
    assert rig.store.names[track].hardware == view.hardware
    assert len(rig.store.writers) == 1


async def test_record_can_be_switched_without_reconnecting(rig: Rig) -> None:
    """From never to always the prebuffer is written first; back to never it says not-scheduled."""
    never = CameraConfig("one", storage="main", record="never", prebuffer_us=5_000_000)
    await rig.start(config(device("one", never)))
    await asyncio.sleep(60)
    assert rig.video.samples == []
    assert rig.engine.camera("one").connected
    assert rig.events.of("not-recording") == []
    held = rig.engine.camera("one").streams[0]
    assert 5_000_000 <= held.prebuffer_us <= 6_000_000
    stream = rig.driver.device().streams["main"]
    now_us = rig.clock.utc_us()
    await reload(rig, config(device("one", replace(never, record="always"))))
    await asyncio.sleep(5)
    assert rig.driver.device().streams["main"] is stream
    assert 5_000_000 <= now_us - rig.video.samples[0].recv_us <= 6_000_000
    ticks = [sample.dts for sample in rig.video.samples]
    assert ticks == list(range(ticks[0], ticks[0] + 3_600 * len(ticks), 3_600)), "no unit twice, none missing"
    assert rig.video.covers[-1] == (rig.video.samples[0].recv_us, Cause(State.RECORDED))
    assert_in_order(rig.video)
    await reload(rig, config(device("one", never)))
    assert rig.video.states[-1] == (State.NOT_SCHEDULED, "record-never")


def assert_in_order(writer: FakeWriter) -> None:
    """The fold reads transitions by time: a later word about an earlier moment would hide the newer state."""
    times = [time_us for time_us, _ in writer.covers]
    assert times == sorted(times)


async def test_switching_twice_writes_no_unit_twice(rig: Rig) -> None:
    always = rig.config
    never = config(device("one", CameraConfig("one", storage="main", record="never")))
    await rig.start()
    for _ in range(3):
        await asyncio.sleep(2.3)
        await reload(rig, never)
        await asyncio.sleep(0.3)
        await reload(rig, always)
    await asyncio.sleep(3)
    ticks = [sample.dts for sample in rig.video.samples]
    assert ticks == sorted(set(ticks))
    assert_in_order(rig.video)


async def test_words_stay_in_order_when_units_come_late(rig: Rig) -> None:
    """Gathered reads give units that arrived a moment ago; the track is met with the first of them."""
    await rig.start()
    await asyncio.sleep(2)
    units = Units(rig.clock, AUDIO)
    late = units.next()
    await asyncio.sleep(0.02)
    rig.driver.device().sinks["main"].unit(MediaKind.AUDIO, late)
    audio = rig.store.of("main", TrackKind.AUDIO)
    assert audio.states[-1] == (State.RECORDED, "")
    assert_in_order(audio)
    rig.driver.device().lose(StreamLost("closed", "closed"))
    await rig.engine.stop()
    for writer in rig.store.writers.values():
        assert writer.states[-1] == (State.SERVER_DOWN, "stop")
        assert_in_order(writer)


async def test_another_address_is_another_camera_and_says_so(rig: Rig) -> None:
    await rig.start(config(device("a"), device("b")))
    before = {name: str(rig.engine.camera(name).id) for name in "ab"}
    hardware = next(view.id for view in rig.engine.hardware() if view.name == "a")
    with structlog.testing.capture_logs() as logs:
        await reload(rig, config(device("a", address="fake://moved"), device("b")))
    after = str(rig.engine.camera("a").id)
    assert after != before["a"]
    [event] = rig.events.of("camera-identity-changed")
    assert (event["name"], event["before"], event["after"]) == ("a", before["a"], after)
    [line] = [one for one in logs if one["event"] == "camera-identity-changed"]
    assert line["log_level"] == "warning"
    assert f'set id = "{hardware}" in its [[hardware]] ' in line["message"]
    await reload(rig, config(device("a", address="fake://moved", id=hardware), device("b")))
    assert str(rig.engine.camera("a").id) == before["a"], "what the message says helps"
    assert len(rig.events.of("camera-identity-changed")) == 1, "a given id is meant"


async def test_a_camera_that_moved_to_another_device_is_told_its_own_id(rig: Rig) -> None:
    cameras = (CameraConfig("left", storage="main"), CameraConfig("right", 1, storage="main"))
    await rig.start(config(device("a", cameras=cameras)))
    before = str(rig.engine.camera("right").id)
    with structlog.testing.capture_logs() as logs:
        await reload(rig, config(device("a", cameras=cameras[:1]), device("b", cameras=(cameras[1],))))
    [line] = [one for one in logs if one["event"] == "camera-identity-changed"]
    assert f'set id = "{before}" in its [[hardware.camera]] ' in line["message"]


async def test_a_late_tick_does_not_blame_the_cameras(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process stood still: what the camera sent meanwhile is read before anybody calls it silent."""
    await rig.start()
    await asyncio.sleep(10)
    now, ahead_us = rig.clock.monotonic_us, [0]
    monkeypatch.setattr(rig.clock, "monotonic_us", lambda: now() + ahead_us[0])
    ahead_us[0] = 30_000_000
    rig.clock.step(-30_000_000)
    looked: list[int] = []
    monkeypatch.setattr(StreamRecorder, "tick", lambda stream, now_us: looked.append(now_us))
    await asyncio.sleep(1.5)
    assert looked == []
    await asyncio.sleep(1)
    assert len(looked) == 1


async def test_missing_storage_is_a_state_and_an_alarm(rig: Rig) -> None:
    rig.stores.clear()
    await rig.start()
    await asyncio.sleep(30)
    view = rig.engine.camera("one")
    assert (view.state, view.reason, view.connected) == ("storage-error", "storage-missing", True)
    assert view.recording.not_recording
    assert "not-recording" in rig.events.codes()
    assert rig.engine.storages()[0].state == "missing"
    rig.stores["main"] = FakeStore()
    rig.store = rig.stores["main"]
    await reload(rig, rig.config)
    await asyncio.sleep(30)
    view = rig.engine.camera("one")
    assert (view.state, view.recording.not_recording) == ("recorded", False)


async def test_a_camera_is_known_all_the_while_its_storage_comes(rig: Rig) -> None:
    """Asked just when it is put on its storage: never "no such camera"."""
    rig.stores.clear()
    await rig.start()
    seen: list[str] = []
    identities = rig.engine._deps.identities
    hardware = identities.hardware

    async def looked_at(driver: str, address: str, given: uuid.UUID | None) -> uuid.UUID:
        seen.append(rig.engine.camera("one").name)
        return await hardware(driver, address, given)

    identities.hardware = looked_at  # type: ignore[method-assign]
    rig.stores["main"] = rig.store
    await reload(rig, rig.config)
    assert seen == ["one"]


async def test_storage_trouble_reaches_every_track_and_ends(rig: Rig) -> None:
    await rig.start(config(device("a"), device("b")))
    await asyncio.sleep(5)
    rig.committing = False
    watch = rig.engine.listener("main")
    for _ in range(3):
        watch.trouble("storage-error", {"reason": "EIO", "path": "/x"})
    await asyncio.sleep(30)
    assert {view.state for view in rig.engine.cameras()} == {"storage-error"}
    assert rig.events.codes().count("storage-error") == 1
    assert rig.events.codes().count("not-recording") == 2
    rig.committing = True
    watch.trouble("storage-recovered", {})
    await asyncio.sleep(3)
    assert {view.state for view in rig.engine.cameras()} == {"recorded"}
    assert rig.events.codes().count("recording-resumed") == 2


async def test_shed_is_an_event_of_its_camera(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(5)
    track = rig.engine.camera("one").streams[0].tracks[0]
    rig.engine.listener("main").shed(track.id, 1, 2, 50, 5_000)
    assert rig.events.of("overload-shed")[0]["samples"] == 50
    assert rig.engine.camera("one").streams[0].tracks[0].counters["shed_samples"] == 50


async def test_audio_of_an_earlier_run_goes_on_being_explained(rig: Rig) -> None:
    id = await rig.engine._deps.identities.camera(uuid.uuid5(uuid.NAMESPACE_URL, "fake fake://one"), 0, None)
    track = track_id(id, "main", TrackKind.AUDIO)
    rig.store.known.append(TrackSpec(track, id, uuid.uuid4(), TrackKind.AUDIO))
    await rig.start()
    await asyncio.sleep(5)
    assert rig.store.writers[track].states == [(State.CAMERA_OFFLINE, "connecting")] or rig.store.writers[track].covers


async def test_announced_audio_that_never_comes_fires(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(2)
    rig.driver.device().sinks["main"].event("tracks", {"kinds": ["video", "audio"]})
    await asyncio.sleep(20)
    assert [(event["track"], event["reason"]) for event in rig.events.of("not-recording")] == [("audio", "no-media")]
    assert rig.engine.camera("one").state == "recorded"
    rig.driver.device().sinks["main"].event("tracks", {"kinds": ["video"]})
    audio = rig.store.of("main", TrackKind.AUDIO)
    assert audio.states[-1] == (State.CAMERA_OFFLINE, "not-announced")


async def test_audio_units_make_an_audio_track(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(2)
    units = Units(rig.clock, AUDIO)
    for _ in range(10):
        rig.driver.device().sinks["main"].unit(MediaKind.AUDIO, units.next())
        await asyncio.sleep(0.02)
    audio = rig.store.of("main", TrackKind.AUDIO)
    assert len(audio.samples) == 10
    assert audio.configs[0].sample_entry[4:8] == b"ulaw"
    assert audio.states[-1] == (State.RECORDED, "")


async def test_driver_events_reach_the_log_with_their_stream(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(2)
    sink = rig.driver.device().sinks["main"]
    sink.event("clock-drift", {"ppm": 5_000})
    sink.event("config-changed", {"width": 640})
    sink.event("clock-step", {"delta_us": 7})
    sink.event("chatter", {})
    assert rig.events.of("clock-drift") == [{"stream": "main", "ppm": 5_000}]
    assert rig.events.of("config-changed") == [{"stream": "main", "width": 640}]
    assert rig.events.of("clock-step") == [{"stream": "main", "source": "camera", "delta_us": 7}]
    assert "chatter" not in rig.events.codes()


async def test_recorder_clock_step_is_one_event(rig: Rig) -> None:
    await rig.start(config(device("a"), device("b")))
    await asyncio.sleep(5)
    rig.clock.step(90_000_000)
    await asyncio.sleep(5)
    assert rig.events.of("clock-step") == [{"source": "recorder", "delta_us": 90_000_000}]
    for writer in rig.store.writers.values():
        assert [cause.state for _, _, cause in writer.gaps] == [State.CLOCK_STEP]


async def test_online_and_offline_are_said_once_per_change(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(40)
    for _ in range(3):
        rig.driver.device().lose(StreamLost("stall", "stall"))
        await asyncio.sleep(40)
    assert rig.events.codes() == ["camera-online"] + ["camera-offline", "camera-online"] * 3


async def test_streams_have_tracks_of_their_own(rig: Rig) -> None:
    both = CameraConfig("one", storage="main", streams=(StreamConfig("main"), StreamConfig("sub", record=False)))
    await rig.start(config(device("one", both)))
    await asyncio.sleep(5)
    assert rig.store.of("main").samples
    assert rig.store.of("sub").samples == []
    assert rig.store.of("sub").states == [(State.NOT_SCHEDULED, "record-never")]
    view = rig.engine.camera("one")
    assert [stream.role for stream in view.streams] == ["main", "sub"]
    assert rig.engine.camera(str(view.id)).name == "one"


async def test_unknown_driver_is_said_and_waits(rig: Rig) -> None:
    await rig.start(config(device("one", driver="nonesuch"), device("two")))
    await asyncio.sleep(60)
    view = rig.engine.hardware()[0]
    assert (view.state, view.reason) == ("unsupported", "driver-missing")
    assert rig.engine.camera("two").state == "recorded"
