"""The server side of one RTSP connection (RFC 2326): requests in, responses out.

Law: no sockets, no tasks; time is an argument. Whatever a client asks, the answer is a status and never an exception;
only `HangUp` from a mount table passes through. An answer may come later (`Later`); until then the connection offers
no further request. A session lives and ends with its connection.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from recorderd.rtspserver.describe import TRACK_CONTROL, describe
from recorderd.rtspserver.gate import DigestGate
from recorderd.rtspserver.later import Later, after
from recorderd.rtspserver.mount import Mount, Mounts, PlayStart, Presentation, ViewerOutlet, Visit
from recorderd.rtspserver.statuses import REASONS, Refused
from recorderd.rtspserver.targets import Target, parse_target
from recorderd.rtspserver.transports import Choice, choose
from recorderd.rtspserver.wishes import REPLAY_TAG, clock_text, read_wish
from recorderd.wire.rtcp import is_rtcp
from recorderd.wire.rtsp_message import Headers, RtspRequest, RtspResponse

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")
_KNOWN_ELSEWHERE = ("RECORD", "ANNOUNCE", "REDIRECT")

Reply = RtspResponse | Later[RtspResponse]


@dataclass(slots=True)
class Tally:
    """What the server refused, for whoever shows it: answers by status, connections by why they were ended."""

    answers: Counter[int] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    sessions: int = 0  # now


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all connections of a server share. `timeout_s` is announced to clients; `features`: the tags that Require
    may name; `max_sessions` at once, more get 453."""

    mounts: Mounts
    gate: DigestGate
    name: str = "recorderd"
    timeout_s: int = 60
    features: frozenset[str] = frozenset()
    max_sessions: int = 10_000
    tally: Tally = field(default_factory=Tally)


class Wiring(ViewerOutlet, Protocol):
    """What the session needs of its connection beside the outlet."""

    @property
    def peer(self) -> str:
        """The remote address."""
        ...

    @property
    def has_udp(self) -> bool: ...

    def open_udp(self, track: int, client_ports: tuple[int, int]) -> tuple[int, int]:
        """Carry a track by UDP; gives the server's ports. Raises Refused."""
        ...

    def close_udp(self) -> None:
        """The session is over."""
        ...


class RtspSession:
    """State: the mount in use, the tracks set up and how they travel, whether it plays."""

    def __init__(self, context: SessionContext, wiring: Wiring) -> None:
        self._context = context
        self._wiring = wiring
        self._mount: Mount | None = None
        self._mount_key: tuple[str, str] | None = None
        self._presentation: Presentation | None = None
        self._visit: Visit | None = None
        self._tracks: set[int] = set()
        self._transport: Choice | None = None
        self._replay = False
        self._id = ""
        self.playing = False
        self._played = False  # the visit was told to play, perhaps to pause since
        self._handlers: dict[str, Callable[[RtspRequest, Target], Reply]] = {
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "PAUSE": self._pause,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._parameter,
            "SET_PARAMETER": self._parameter,
        }

    @property
    def established(self) -> bool:
        """Has a track been set up?"""
        return bool(self._id)

    def handle(self, request: RtspRequest, now_us: int) -> Reply:
        """Answer one request; `now_us` is monotonic time. Raises HangUp when the mount wants no answer at all."""

        def finish(response: RtspResponse) -> RtspResponse:
            items = [("CSeq", request.headers.get("CSeq"))] if "CSeq" in request.headers else []
            items.append(("Server", self._context.name))
            self._context.tally.answers[response.status] += 1
            return replace(response, reason=REASONS[response.status], headers=Headers(items + list(response.headers)))

        try:
            reply = self._answer(request, now_us)
        except Refused as refusal:
            return finish(refusal.response())
        if not isinstance(reply, Later):
            return finish(reply)
        finished: Later[RtspResponse] = Later()
        reply.when(
            lambda response: finished.resolve(finish(response)),
            lambda refusal: finished.resolve(finish(refusal.response())),
        )
        return finished

    def receiver_report(self, channel: int, data: bytes) -> None:
        """What the client sent on a channel: RTCP on the odd ones, anything else is none of ours."""
        track, odd = divmod(channel, 2)
        if odd and track in self._tracks and self._visit is not None and is_rtcp(data, 0, len(data)):
            self._visit.receiver_report(track, data)

    def closed(self, cause: str) -> None:
        """The connection is gone."""
        self._end_session()
        if self._visit is not None:
            self._visit.closed(cause)
            self._visit = None

    def _answer(self, request: RtspRequest, now_us: int) -> Reply:
        if request.version != "RTSP/1.0":
            raise Refused(505)
        if request.cseq is None:
            raise Refused(400)
        if request.method not in METHODS:
            raise Refused(405 if request.method in _KNOWN_ELSEWHERE else 501, ("Allow", ", ".join(METHODS)))
        self._require(request)
        if request.method == "OPTIONS":
            return _with(RtspResponse(200), ("Public", ", ".join(METHODS)))
        target = parse_target(request.url)
        if target is None:
            raise Refused(400)
        self._admit(request, target, now_us)
        return self._handlers[request.method](request, target)

    def _require(self, request: RtspRequest) -> None:
        lines = request.headers.all("Require") + request.headers.all("Proxy-Require")
        wanted = [tag.strip() for line in lines for tag in line.split(",") if tag.strip()]
        unknown = [tag for tag in wanted if tag not in self._context.features]
        if unknown:
            raise Refused(551, ("Unsupported", ", ".join(unknown)))
        self._replay = self._replay or REPLAY_TAG in wanted

    def _admit(self, request: RtspRequest, target: Target, now_us: int) -> None:
        """Returns when the request may go on. The login is asked for before it is told whether a path exists."""
        known = self._use(target)
        gate = self._context.gate
        verdict = gate.check(request, now_us)
        admitted = verdict.user is not None
        if admitted and known and self._mount is not None and verdict.user is not None:
            admitted = self._mount.admits(verdict.user)
        if not admitted:
            if known and verdict.shown and self._visit is not None:
                self._visit.auth_failed()
            raise Refused(401, *(("WWW-Authenticate", one) for one in gate.challenges(now_us, verdict.stale)))
        if not known:
            raise Refused(404)

    def _use(self, target: Target) -> bool:
        """Bind the connection to the mount of `target`. A session that was set up stays with its own; before that a
        connection may look at several (each visit is closed when the next begins)."""
        key = (target.path, target.query)
        if key == self._mount_key or (self._id and target.path == "/"):
            return True
        mount = self._context.mounts.find(target.path, target.query)
        if mount is None or self._id:
            return mount is not None
        if self._visit is not None:
            self._visit.closed("closed")
        self._mount, self._mount_key, self._visit = mount, key, mount.visit(self._wiring)
        self._presentation = None
        return True

    def _present(self) -> Presentation | Later[Presentation]:
        def keep(presentation: Presentation) -> Presentation:
            self._presentation = presentation
            return presentation

        assert self._mount is not None
        return after(self._mount.presentation(), keep)

    def _describe(self, request: RtspRequest, target: Target) -> Reply:
        accepted = request.headers.get("Accept", "application/sdp")
        if not any(word in accepted for word in ("application/sdp", "application/*", "*/*")):
            raise Refused(406)

        def answer(presentation: Presentation) -> RtspResponse:
            body = describe(presentation, target.base, target.query, self._context.name)
            base = target.base + (f"?{target.query}" if target.query else "") + "/"
            return _with(RtspResponse(200, body=body), ("Content-Type", "application/sdp"), ("Content-Base", base))

        return after(self._present(), answer)

    def _setup(self, request: RtspRequest, target: Target) -> Reply:
        if self._id and (target.path, target.query) != self._mount_key:
            raise Refused(459)
        self._check_session(request, required=bool(self._id))
        if self.playing:
            raise Refused(455)
        known = self._presentation if self._presentation is not None else self._present()
        return after(known, lambda presentation: self._set_up(request, target, presentation))

    def _set_up(self, request: RtspRequest, target: Target, presentation: Presentation) -> RtspResponse:
        tracks, tally = presentation.tracks, self._context.tally
        number = target.track if target.track is not None else (0 if len(tracks) == 1 else None)
        if number is None:
            raise Refused(459)
        if number >= len(tracks):
            raise Refused(404)
        if number in self._tracks:
            raise Refused(455)  # another transport for a track: TEARDOWN first
        choice = choose(
            request.headers.get("Transport"), self._wiring.peer, self._wiring.has_udp, self._transport
        )  # fmt: skip
        if not self._id and tally.sessions >= self._context.max_sessions:
            raise Refused(453)
        if choice.client_ports is None:
            transport = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
        else:
            ports = self._wiring.open_udp(number, choice.client_ports)
            own, theirs = ("-".join(map(str, pair)) for pair in (ports, choice.client_ports))
            transport = f"RTP/AVP;unicast;client_port={theirs};server_port={own}"
        if not self._id:
            self._id = secrets.token_hex(8)
            tally.sessions += 1
        self._transport = choice
        self._tracks.add(number)
        transport += f';ssrc={tracks[number].ssrc:08X};mode="PLAY"'
        return _with(RtspResponse(200), ("Transport", transport), self._session_header())

    def _play(self, request: RtspRequest, target: Target) -> Reply:
        self._check_session(request, required=True)
        assert self._visit is not None
        reliable = self._transport is None or self._transport.client_ports is None
        wish = read_wish(request, frozenset(self._tracks), self._replay, reliable)
        if self.playing and not wish.changes:  # a keep-alive of some clients
            return _with(RtspResponse(200), self._session_header())

        def answer(start: PlayStart) -> RtspResponse:
            self.playing = self._played = True
            return _with(RtspResponse(200), self._session_header(), *self._play_headers(start, target))

        self.playing = False
        return after(self._visit.play(wish), answer)

    def _play_headers(self, start: PlayStart, target: Target) -> list[tuple[str, str]]:
        suffix = f"?{target.query}" if target.query else ""
        info = ",".join(
            f"url={target.base}/{TRACK_CONTROL}{one.track}{suffix};seq={one.seq};rtptime={one.timestamp}"
            for one in start.first
        )
        headers = [("RTP-Info", info)] if info else []
        if start.utc_us is not None:
            end = clock_text(start.end_us) if start.end_us is not None else ""
            headers.append(("Range", f"clock={clock_text(start.utc_us)}-{end}"))
        if start.scale is not None:
            headers.append(("Scale", f"{start.scale:.6g}"))
        if start.rate_control is not None:
            headers.append(("Rate-Control", "yes" if start.rate_control else "no"))
        return headers

    def _pause(self, request: RtspRequest, target: Target) -> Reply:
        self._check_session(request, required=True)
        assert self._visit is not None
        headers = [self._session_header()]
        if self.playing:
            self.playing = False
            at_us = self._visit.pause()
            if at_us is not None:
                headers.append(("Range", f"clock={clock_text(at_us)}-"))
        return _with(RtspResponse(200), *headers)

    def _teardown(self, request: RtspRequest, target: Target) -> Reply:
        self._check_session(request, required=True)
        if self._played and self._visit is not None:
            self._visit.stop()
        self._end_session()
        return RtspResponse(200)

    def _end_session(self) -> None:
        if self._id:
            self._context.tally.sessions -= 1
        self.playing, self._id, self._transport, self._replay = False, "", None, False
        self._played = False
        self._tracks.clear()
        self._wiring.close_udp()

    def _parameter(self, request: RtspRequest, target: Target) -> Reply:
        """An empty one keeps the session alive; there are no parameters to ask for or to set."""
        self._check_session(request, required=False)
        if request.body.strip():
            raise Refused(451)
        return _with(RtspResponse(200), self._session_header()) if self._id else RtspResponse(200)

    def _check_session(self, request: RtspRequest, required: bool) -> None:
        given = request.headers.get("Session").partition(";")[0].strip()
        if (given or required) and not (self._id and given == self._id):
            raise Refused(454)

    def _session_header(self) -> tuple[str, str]:
        return "Session", f"{self._id};timeout={self._context.timeout_s}"


def _with(response: RtspResponse, *headers: tuple[str, str]) -> RtspResponse:
    return replace(response, headers=Headers([*response.headers, *headers]))
