"""When a silent camera is given up: slow ones are waited for, and nobody for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rtsp_rig import RigSink

from recorderd.core.clock import FakeClock
from recorderd.driverkit import rtsp_stream
from recorderd.media.access_unit import MediaKind
from recorderd.wire.track import TrackCounters

pytestmark = pytest.mark.fast


class Lead:
    """A leading track that makes a picture when it is told to."""

    kind = MediaKind.VIDEO

    def __init__(self) -> None:
        self.counters, self.last_unit_mono_us, self.gop_us = TrackCounters(), 0, 0

    def picture(self, now_us: int) -> None:
        self.counters.units += 1
        self.last_unit_mono_us = now_us


def watched(lead: Lead, clock: FakeClock) -> rtsp_stream.RtspStream:
    """The stall detector of a stream, on a clock moved by hand."""
    clock.advance(1_000_000)  # time 0 is no time
    opened = SimpleNamespace(connection=None, session=None)
    path = SimpleNamespace(silence=lambda: "")
    host = SimpleNamespace(clock=clock)
    made: Any = SimpleNamespace(opened=opened, path=path, tracks=[lead])
    return rtsp_stream.RtspStream(made, RigSink(), host)  # type: ignore[arg-type]


def second(stream: rtsp_stream.RtspStream, clock: FakeClock) -> str:
    clock.advance(1_000_000)
    stream._learn_interval()
    lost = stream._find_stall(clock.monotonic_us())
    return lost.reason if lost is not None else ""


@pytest.mark.parametrize(("wait_s", "silence_s"), [(1, 5), (2, 6), (5, 15), (20, 60), (60, 180)])
def test_a_slow_camera_is_no_stall_until_three_pictures_are_missing(wait_s: int, silence_s: int) -> None:
    lead, clock = Lead(), FakeClock()
    stream = watched(lead, clock)
    for _ in range(8):
        lead.picture(clock.monotonic_us())
        assert [second(stream, clock) for _ in range(wait_s)] == [""] * wait_s
    ends = [second(stream, clock) for _ in range(silence_s)]
    assert ends[silence_s - wait_s - 1 :] == ["stall"] * (wait_s + 1)
    assert not any(ends[: silence_s - wait_s - 1])


def test_a_fast_camera_stalls_after_five_seconds_again_when_it_was_slow() -> None:
    lead, clock = Lead(), FakeClock()
    stream = watched(lead, clock)
    for wait_s in (5, 5, 5, *[0] * 40):
        lead.picture(clock.monotonic_us())
        assert not any([second(stream, clock) for _ in range(wait_s)])
        clock.advance(40_000)
        stream._learn_interval()
    ends = [second(stream, clock) for _ in range(6)]
    assert ends[-1] == "stall"
    assert ends.count("stall") <= 2


def test_one_picture_alone_is_waited_for_but_not_for_ever() -> None:
    lead, clock = Lead(), FakeClock()
    stream = watched(lead, clock)
    lead.picture(clock.monotonic_us())
    ends = [second(stream, clock) for _ in range(76)]
    assert not any(ends[:74])
    assert ends[-1] == "stall"
