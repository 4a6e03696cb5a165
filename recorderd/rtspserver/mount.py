"""What a program that serves streams must give the RTSP server, and what it gets in return.

Law: contracts and plain data only. A mount is one stream under one path; a visit is one connection's use of it. All
calls are synchronous, cheap and made on the event loop; what takes its time is answered with a `Later`. Where an
answer may be `Later`, `Refused` may be raised as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recorderd.media.access_unit import CodecConfig
from recorderd.rtspserver.later import Later
from recorderd.rtspserver.wishes import PlayWish


class HangUp(Exception):
    """Raised by `Mounts.find`: close the connection without an answer, as a device does that is not there."""


@dataclass(frozen=True, slots=True)
class Track:
    """One m= section of a mount: track number N is interleaved on channels 2N (RTP) and 2N + 1 (RTCP).
    `attributes`: further a= lines without the "a="."""

    config: CodecConfig
    payload_type: int
    ssrc: int
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presentation:
    """What DESCRIBE tells of a mount. `range`: the value of a=range."""

    tracks: tuple[Track, ...]
    range: str = "npt=now-"


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """RTP-Info of one track: what its first packet after PLAY carries."""

    track: int
    seq: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class PlayStart:
    """The answer to PLAY. `utc_us`: the source's own UTC of the first picture (Range: clock=), None when unknown;
    `end_us` where it ends, None when open. `scale`, `rate_control`: as they will be, None: nothing to say."""

    utc_us: int | None
    first: tuple[FirstPacket, ...]
    end_us: int | None = None
    scale: float | None = None
    rate_control: bool | None = None


class Outlet(Protocol):
    """A connection's media side."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes accepted by `send` that the kernel has not taken yet; the source decides what is too much."""
        ...

    def send(self, parts: Sequence[bytes]) -> None:
        """Send whole interleaved packets, in order, now. Does nothing once the connection is closing."""
        ...

    def close(self) -> None:
        """End the connection as the source's own wish."""
        ...


class ViewerOutlet(Outlet, Protocol):
    """The same for sources that wait for their viewer."""

    async def drain(self) -> None:
        """Return when little waits to be taken, or the connection is gone."""
        ...

    def drop(self, cause: str) -> None:
        """End the connection at once, what waits is thrown away; `cause` is counted."""
        ...


class Visit(Protocol):
    """One connection's use of a mount, from the first request that names it until the connection is gone."""

    def play(self, wish: PlayWish) -> PlayStart | Later[PlayStart]:
        """Begin, or go over to what is wished; the first packets leave after this call has returned, or after its
        Later was resolved. A refusal leaves the visit paused."""
        ...

    def pause(self) -> int | None:
        """PAUSE: send nothing until the next `play`. Gives the UTC where it stands, if it knows."""
        ...

    def stop(self) -> None:
        """TEARDOWN: send nothing more. Called at most once after a `play`."""
        ...

    def auth_failed(self) -> None:
        """Wrong credentials were shown for this mount."""
        ...

    def receiver_report(self, track: int, data: bytes) -> None:
        """An RTCP compound came back on the track's channel."""
        ...

    def closed(self, cause: str) -> None:
        """The connection is gone: "closed" by the client, "timeout", "protocol-error", "hang-up" (the source's wish)
        or "stopped". The last call."""
        ...


class Mount(Protocol):
    """One stream."""

    def presentation(self) -> Presentation | Later[Presentation]: ...

    def admits(self, user: str) -> bool:
        """May `user` ("" when the server asks for no login) see this mount? False is answered with 401."""
        ...

    def visit(self, outlet: ViewerOutlet) -> Visit: ...


class Mounts(Protocol):
    """The table of mounts."""

    def find(self, path: str, query: str) -> Mount | None:
        """The mount under a decoded absolute path and a raw query; None: 404. Raises HangUp."""
        ...
