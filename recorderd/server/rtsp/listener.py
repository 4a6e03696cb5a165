"""RTSP for players: `rtsp://HOST:PORT/live/CAMERA` and `/recorded/CAMERA`.

Law: the only entry point of this package. It joins the RTSP server to the mounts and owns the task tree of all
viewers; nothing here knows media. Until there are accounts everybody who can connect is let in, so the configuration
allows loopback addresses only.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from recorderd.rtspserver.gate import MD5, SHA_256, DigestGate
from recorderd.rtspserver.server import RtspServer, ServerLimits
from recorderd.rtspserver.session import SessionContext
from recorderd.rtspserver.udp import UdpPorts
from recorderd.rtspserver.wishes import REPLAY_TAG
from recorderd.server.deps import ServerDeps
from recorderd.server.rtsp.mounts import OutMounts

REALM = "recorderd"
REFUSED_ENDS = ("protocol-error", "too-many-connections", "too-many-of-address", "made-room", "timeout")


@dataclass(frozen=True, slots=True)
class RtspLimits:
    """`udp_ports`: first and last port of the pairs that UDP viewers are served from; (0, 0): what the system gives."""

    server: ServerLimits = field(default_factory=lambda: ServerLimits(connections=500, per_address=200, setup_s=30))
    sessions: int = 200
    timeout_s: int = 60
    udp_ports: tuple[int, int] = (0, 0)


class RtspOut:
    """One listening server. Not restartable."""

    def __init__(self, deps: ServerDeps, limits: RtspLimits | None = None) -> None:
        limits = limits or RtspLimits()
        self.tree = deps.supervisor.child("rtsp", together=True)
        self._address: tuple[str, int] | None = None
        self._mounts = OutMounts(deps, self.tree)
        context = SessionContext(
            mounts=self._mounts,
            gate=DigestGate(REALM, {}, secrets.token_bytes(16), (SHA_256, MD5)),
            name="recorderd",
            timeout_s=limits.timeout_s,
            features=frozenset({REPLAY_TAG, "play.basic"}),
            max_sessions=limits.sessions,
        )
        ports = UdpPorts(*limits.udp_ports, pairs=2 * limits.sessions)
        self.server = RtspServer(context, deps.clock, limits.server, ports)

    async def start(self, listen: tuple[str, int]) -> None:
        """Listen on host and port (0 takes a free one). Raises OSError when the address cannot be had."""
        self._address = (listen[0], await self.server.start(*listen))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; empty before `start`."""
        return [] if self._address is None else [self._address]

    async def stop(self) -> None:
        """End every viewer, then the tasks."""
        await self.server.stop()
        await self.tree.stop()

    def gauges(self) -> Mapping[str, float]:
        """Figures for /metrics; `server.tally` has refusals by status and ends by cause."""
        tally = self.server.tally
        refused = sum(count for status, count in tally.answers.items() if status >= 400)
        return {
            "rtsp_connections": self.server.connections,
            "rtsp_sessions": tally.sessions,
            "rtsp_sent_bytes_total": self._mounts.traffic.bytes,
            "rtsp_dropped_viewers_total": tally.ended["too-slow"],
            "rtsp_refused_total": refused + sum(tally.ended[cause] for cause in REFUSED_ENDS),
        }
