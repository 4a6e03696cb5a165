"""The commands of recorded playback: play, seek, speed, pause, resume, step.

Law: reads and checks what the client said; the work is `ws_playback`'s. Every command but `play` names a clock. Called
through the table of `ws_session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recorderd.core.errors import NotFoundError, UsageError
from recorderd.core.timerange import TimeRange
from recorderd.server.http.ws_playback import (
    EPOCH_US,
    GROUP_BYTES,
    LEAD_US,
    LEAST_BYTES,
    PlaybackFeed,
    PlayGroup,
    PlayRequest,
)
from recorderd.server.http.ws_protocol import (
    Command,
    choice_param,
    count_param,
    flag_param,
    names_param,
    speed_param,
    text_param,
)
from recorderd.server.timespan import read_time, show_time
from recorderd.services.playback.types import PlayerOptions, SeekMode

if TYPE_CHECKING:
    from recorderd.server.http.ws_session import Session

MAX_CAMERAS = 16
MAX_STEP = 1_000
MODES = tuple(str(mode) for mode in SeekMode if mode is not SeekMode.CURSOR)
_PLACED = (SeekMode.BEGIN, SeekMode.END)


async def play(session: Session, command: Command) -> dict[str, Any]:
    """Cameras on one clock: a new one, or an existing one that they join where it is."""
    params = command.params
    names = names_param(params, "cameras", MAX_CAMERAS) or [text_param(params, "camera")]
    views = list({view.id: view for view in (session.camera(name) for name in names)}.values())
    joined = _group(session, command) if "clock" in params else None
    mode, time_us = (SeekMode.EXACT, joined.master.media_us()) if joined is not None else _where(session, command)
    if len(views) + (len(joined.feeds) if joined is not None else 0) > MAX_CAMERAS:
        raise UsageError(f"one clock plays at most {MAX_CAMERAS} cameras", highest=MAX_CAMERAS)
    speed = speed_param(params, 1.0)
    request = PlayRequest(
        text_param(params, "stream", "main"),
        flag_param(params, "audio", False),
        _options(session, command, time_us, len(views)),
    )
    paused = flag_param(params, "paused", False)
    group = joined or session.new_group()
    before = list(group.feeds)
    try:
        for feed in [PlaybackFeed(session.deps, view, request, group) for view in views]:
            feed.begin(session, session.add(feed))
        if joined is None:
            group.speed = speed
            group.set_speed(0 if paused else speed)
        else:
            group.set_speed(group.master.speed)
        places = await group.seek(time_us, mode)
    except BaseException:
        for feed in [feed for feed in group.feeds if feed not in before]:
            await session.abandon(feed)
        if joined is None:
            session.groups.pop(group.number, None)
        raise
    return {**group.state(), "epoch": show_time(EPOCH_US), "feeds": places}


async def seek(session: Session, command: Command) -> dict[str, Any]:
    """All cameras of the clock."""
    group = _group(session, command)
    mode, time_us = _where(session, command, group.master.media_us())
    places = await group.seek(time_us, mode)
    return {**group.state(), "feeds": places}


async def speed(session: Session, command: Command) -> dict[str, Any]:
    """From now on."""
    group = _group(session, command)
    group.set_speed(speed_param(command.params))
    return group.state()


async def pause(session: Session, command: Command) -> dict[str, Any]:
    """The clock stands."""
    group = _group(session, command)
    group.set_speed(0)
    return group.state()


async def resume(session: Session, command: Command) -> dict[str, Any]:
    """At the speed before the pause."""
    group = _group(session, command)
    group.set_speed(group.speed)
    return group.state()


async def step(session: Session, command: Command) -> dict[str, Any]:
    """Pictures of the first camera, on or back; the others follow to its time."""
    group = _group(session, command)
    frames = count_param(command.params, "frames", None, -MAX_STEP, MAX_STEP)
    if not frames:
        raise UsageError("`frames` must not be 0")
    places = await group.step(frames)
    return {**group.state(), "feeds": places}


def _group(session: Session, command: Command) -> PlayGroup:
    number = count_param(command.params, "clock", None, 1, 2**32 - 1)
    group = session.groups.get(number)
    if group is None:
        raise NotFoundError(f"there is no clock {number}; `play` makes one", clock=number)
    return group


def _where(session: Session, command: Command, default_us: int | None = None) -> tuple[SeekMode, int]:
    """Mode and time; without a time the clock's own, where there is one."""
    params = command.params
    mode = SeekMode(choice_param(params, "mode", "exact", MODES))
    if "time" not in params and (mode in _PLACED or default_us is not None):
        return mode, default_us or 0
    return mode, read_time(text_param(params, "time"), session.deps.clock.utc_us())


def _options(session: Session, command: Command, time_us: int, cameras: int) -> PlayerOptions:
    params = command.params
    end_us = None
    if "end" in params:
        end_us = read_time(text_param(params, "end"), session.deps.clock.utc_us(), "end")
        TimeRange(time_us, end_us)  # refuses an inverted one
    return PlayerOptions(
        gaps="keep" if choice_param(params, "gaps", "skip", ("skip", "keep")) == "keep" else "skip",
        follow=flag_param(params, "follow", False),
        lead_us=LEAD_US,
        end_us=end_us,
        batch_bytes=max(LEAST_BYTES, GROUP_BYTES // cameras),
    )
