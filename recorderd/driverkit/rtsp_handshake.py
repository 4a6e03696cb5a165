"""Opening an RTSP session: from an address to flowing media.

Law: drives the sans-IO session with real bytes and time limits; policy (when to try again) is the core's.
Raises
DriverError only. Called by `rtsp_stream` and by drivers that only want to ask (probe).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from recorderd.core.clock import Clock
from recorderd.core.errors import RecorderdError
from recorderd.driverapi.base import Host
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError
from recorderd.driverkit.rtsp_connection import RtspConnection
from recorderd.driverkit.rtsp_errors import driver_error
from recorderd.wire.auth import Credentials
from recorderd.wire.media_plan import encodings, plan_media
from recorderd.wire.rtsp_client import MAX_REDIRECTS, ClientSession, LoginRefused, RedirectedError, State
from recorderd.wire.rtsp_message import RtspResponse
from recorderd.wire.rtsp_url import RtspUrl
from recorderd.wire.track import Track, TrackListener

REQUEST_S = 10.0
DESCRIBE_S = 30.0  # some cameras start their encoder first
TEARDOWN_S = 1.0


@dataclass(slots=True)
class OpenSession:
    """A connection with its session, past OPTIONS at least."""

    connection: RtspConnection
    session: ClientSession
    credentials: Credentials | None = None  # what this very connection may be told
    withheld: bool = False  # there are some, but a redirect led to another port

    @property
    def alive(self) -> bool:
        return not self.connection.closed.is_set()

    async def close(self) -> None:
        """TEARDOWN where there is a session, with a budget of 1 s; then close."""
        request = self.session.teardown() if self.alive else None
        try:
            if request is not None:
                await self.connection.exchange(request, TEARDOWN_S)
        except (TimeoutError, DriverError):
            pass  # the camera is gone or slow; its session times out
        finally:
            self.connection.close()


async def greet(url: RtspUrl, credentials: Credentials | None, host: Host) -> OpenSession:
    """Connect and ask OPTIONS: the camera is there and speaks RTSP."""
    open_session = await _dial(url, credentials, host)
    return await _advance(open_session, State.DESCRIBE, host)


async def describe(open_session: OpenSession, host: Host) -> OpenSession:
    """Go on to a description; follows redirects within the host, so the result may be another connection."""
    return await _advance(open_session, State.CHOOSE, host)


async def play(open_session: OpenSession, audio: bool, listener: TrackListener, clock: Clock) -> list[Track]:
    """Set up and play what can be read of a described session. Closes the connection when it fails."""
    session, connection = open_session.session, open_session.connection
    description = session.description
    assert description is not None
    chosen = plan_media(description, audio)
    if not chosen:
        connection.close()
        offered = ", ".join(encodings(description)) or "nothing"
        raise DeviceUnsupported(f"the camera offers no codec that can be recorded (offers {offered})", "codec")
    session.setup([one.media for one in chosen])
    tracks = [Track(one.plan, clock, listener) for one in chosen]
    try:
        while not session.playing:
            await connection.exchange(
                session.next_request(), REQUEST_S, lambda response: _take(open_session, tracks, response)
            )
    except (RecorderdError, OSError) as error:
        await open_session.close()  # a session half set up holds one of the camera's few places
        raise _refused_elsewhere(open_session, error) or driver_error(error, session.facts.timeout_s) from error
    except BaseException:
        connection.close()
        raise
    return tracks


def _take(open_session: OpenSession, tracks: list[Track], response: RtspResponse) -> None:
    """An answer to SETUP or PLAY: from here on media may come."""
    session = open_session.session
    session.receive(response)
    for track, planned in zip(tracks, session.tracks, strict=True):
        if planned.done:
            open_session.connection.receiver.assign(track, *planned.channels)
        if session.playing:
            rtptime, start_us = session.rtp_info(planned), session.facts.play.start_utc_us
            if rtptime is not None and start_us is not None:
                track.play_range(rtptime, start_us)


async def _advance(open_session: OpenSession, goal: State, host: Host) -> OpenSession:
    for _ in range(MAX_REDIRECTS + 1):
        try:
            while open_session.session.state is not goal:
                describing = open_session.session.state is State.DESCRIBE
                await _step(open_session, DESCRIBE_S if describing else REQUEST_S)
            return open_session
        except RedirectedError as redirect:
            open_session.connection.close()
            open_session = await _follow(open_session, redirect.target, host)
        except (RecorderdError, OSError) as error:
            open_session.connection.close()
            raise _refused_elsewhere(open_session, error) or driver_error(error) from error
        except BaseException:
            open_session.connection.close()
            raise
    open_session.connection.close()
    raise DeviceUnsupported("the camera redirects in circles: give the final address", "redirect")


async def _follow(here: OpenSession, target: RtspUrl, host: Host) -> OpenSession:
    """Dial where a redirect leads. Behind address translation another port is another device: it gets no login, nor
    does anything it redirects to."""
    same = target.port == here.session.url.port
    there = await _dial(target, here.credentials if same else None, host)
    there.withheld = here.withheld or (not same and here.credentials is not None)
    return there


def _refused_elsewhere(open_session: OpenSession, error: Exception) -> DriverError | None:
    """Another port wants the login that only the given address gets."""
    if not (open_session.withheld and isinstance(error, LoginRefused)):
        return None
    port = open_session.session.url.port
    return DeviceUnavailable(
        f"the camera redirects to port {port}, which asks for a login: give that address if it is meant", "redirect"
    )


async def _step(open_session: OpenSession, timeout_s: float) -> None:
    session = open_session.session
    await open_session.connection.exchange(session.next_request(), timeout_s, session.receive)


async def _dial(url: RtspUrl, credentials: Credentials | None, host: Host) -> OpenSession:
    try:
        _, protocol = await host.dial(url.host, url.port, RtspConnection)
    except (OSError, RecorderdError) as error:
        raise driver_error(error) from error
    assert isinstance(protocol, RtspConnection)
    return OpenSession(protocol, ClientSession(url, credentials, lambda: secrets.token_hex(8)), credentials)
