"""What a program that serves streams must give the RTSP server, and what it gets in return.

Law: contracts and plain data only. A mount is one stream under one path; a visit is one connection's use of it. All
calls are synchronous, cheap and made on the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recorderd.media.access_unit import Codec, CodecConfig


class HangUp(Exception):
    """Raised by `Mounts.find`: close the connection without an answer, as a device does that is not there."""


@dataclass(frozen=True, slots=True)
class Track:
    """One m= section of a mount: track number N is interleaved on channels 2N (RTP) and 2N + 1 (RTCP)."""

    config: CodecConfig
    payload_type: int
    ssrc: int


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """RTP-Info of one track: what its first packet after PLAY carries."""

    track: int
    seq: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class PlayStart:
    """The answer to PLAY. `utc_us`: the source's own UTC of the first picture (Range: clock=), None when unknown."""

    utc_us: int | None
    first: tuple[FirstPacket, ...]


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


class Visit(Protocol):
    """One connection's use of a mount, from the first request that names it until the connection is gone."""

    def play(self, tracks: frozenset[int]) -> PlayStart:
        """Begin sending these tracks; the first packets may leave only after this call has returned."""
        ...

    def stop(self) -> None:
        """TEARDOWN: send nothing more. Called at most once after each `play`."""
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

    def tracks(self) -> Sequence[Track]: ...

    def admits(self, user: str) -> bool:
        """May `user` ("" when the server asks for no login) see this mount? False is answered with 401."""
        ...

    def visit(self, outlet: Outlet) -> Visit: ...


class Mounts(Protocol):
    """The table of mounts."""

    def find(self, path: str, query: str) -> Mount | None:
        """The mount under a decoded absolute path and a raw query; None: 404. Raises HangUp."""
        ...


def encoding_name(codec: Codec) -> str:
    """The rtpmap name of a codec."""
    return {
        Codec.H264: "H264",
        Codec.H265: "H265",
        Codec.AAC: "MPEG4-GENERIC",
        Codec.PCMU: "PCMU",
        Codec.PCMA: "PCMA",
    }[codec]
