"""Opening an RTSP session: from an address to a description.

Law: drives the sans-IO session with real bytes and time limits; policy (when to try again) is the core's. Raises
DriverError only. Called by drivers; `rtsp_play` goes on from here.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from recorderd.core.errors import RecorderdError
from recorderd.driverapi.base import Host
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError
from recorderd.driverapi.tls import TlsCheck
from recorderd.driverkit.rtsp_connection import RtspConnection
from recorderd.driverkit.rtsp_errors import driver_error
from recorderd.driverkit.rtsp_tunnel import open_tunnel
from recorderd.wire.auth import Credentials
from recorderd.wire.rtsp_client import MAX_REDIRECTS, ClientSession, LoginRefused, RedirectedError, State
from recorderd.wire.rtsp_url import RtspUrl

REQUEST_S = 10.0
DESCRIBE_S = 30.0  # some cameras start their encoder first
TEARDOWN_S = 1.0


@dataclass(frozen=True, slots=True)
class Approach:
    """How a camera is connected to: what its certificate must be (rtsps), and whether through an HTTP tunnel."""

    tls: TlsCheck = field(default_factory=TlsCheck)
    tunnel: bool = False


@dataclass(slots=True)
class OpenSession:
    """A connection with its session, past OPTIONS at least."""

    connection: RtspConnection
    session: ClientSession
    approach: Approach = field(default_factory=Approach)
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


async def greet(url: RtspUrl, credentials: Credentials | None, approach: Approach, host: Host) -> OpenSession:
    """Connect and ask OPTIONS: the camera is there and speaks RTSP."""
    open_session = await _dial(url, credentials, approach, host)
    return await _advance(open_session, State.DESCRIBE, host)


async def describe(open_session: OpenSession, host: Host) -> OpenSession:
    """Go on to a description; follows redirects within the host, so the result may be another connection."""
    return await _advance(open_session, State.CHOOSE, host)


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
            raise refused_elsewhere(open_session, error) or driver_error(error) from error
        except BaseException:
            open_session.connection.close()
            raise
    open_session.connection.close()
    raise DeviceUnsupported("the camera redirects in circles: give the final address", "redirect")


async def _follow(here: OpenSession, target: RtspUrl, host: Host) -> OpenSession:
    """Dial where a redirect leads. Behind address translation another port is another device: it gets no login, nor
    does anything it redirects to."""
    same = target.port == here.session.url.port
    there = await _dial(target, here.credentials if same else None, here.approach, host)
    there.withheld = here.withheld or (not same and here.credentials is not None)
    return there


def refused_elsewhere(open_session: OpenSession, error: Exception) -> DriverError | None:
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


async def _dial(url: RtspUrl, credentials: Credentials | None, approach: Approach, host: Host) -> OpenSession:
    tls = approach.tls if url.tls else None
    try:
        if approach.tunnel:
            connection = await open_tunnel(url, tls, host)
        else:
            _, protocol = await host.dial(url.host, url.port, RtspConnection, tls)
            assert isinstance(protocol, RtspConnection)
            connection = protocol
    except (OSError, RecorderdError) as error:
        raise driver_error(error) from error
    session = ClientSession(url, credentials, lambda: secrets.token_hex(8))
    return OpenSession(connection, session, approach, credentials)
