"""The server side of one RTSP connection (RFC 2326): requests in, responses out.

Law: no sockets, no tasks; time is an argument. Whatever a client asks, the answer is a status and never an
exception; only `HangUp` from a mount table passes through. Media is TCP interleaved: other transports get 461.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

from recorderd.rtspserver.describe import TRACK_CONTROL, describe
from recorderd.rtspserver.gate import DigestGate
from recorderd.rtspserver.mount import Mount, Mounts, Outlet, PlayStart, Visit
from recorderd.wire.rtsp_message import Headers, RtspRequest, RtspResponse

METHODS = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER")
_KNOWN_ELSEWHERE = ("PAUSE", "RECORD", "ANNOUNCE", "SET_PARAMETER", "REDIRECT")

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    451: "Parameter Not Understood",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    501: "Not Implemented",
    505: "RTSP Version not supported",
    551: "Option not supported",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all connections of a server share. `timeout_s` is announced to clients."""

    mounts: Mounts
    gate: DigestGate
    name: str = "recorderd"
    timeout_s: int = 60


@dataclass(frozen=True, slots=True)
class Target:
    """A request's URL taken apart: `base` is everything before track and query; `track` is None for the whole mount."""

    base: str
    path: str
    query: str
    track: int | None


def parse_target(url: str) -> Target | None:
    """Split an rtsp URL; None when it is none. A track may stand behind the path or, as some clients join addresses,
    behind the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("rtsp", "rtspt") or not parts.netloc:
        return None
    path, query, track = parts.path, parts.query, None
    pattern = re.compile(rf"/{TRACK_CONTROL}(\d{{1,3}})/?$")
    for text in (path, query):
        found = pattern.search(text)
        if found:
            track = int(found[1])
    path, query = pattern.sub("", path), pattern.sub("", query).rstrip("/")
    path = path.rstrip("/") or "/"
    return Target(f"{parts.scheme}://{parts.netloc}{path}", unquote(path), query, track)


class RtspSession:
    """State: the mount in use, the tracks set up, whether it plays."""

    def __init__(self, context: SessionContext, outlet: Outlet) -> None:
        self._context = context
        self._outlet = outlet
        self._mount: Mount | None = None
        self._mount_key: tuple[str, str] | None = None
        self._visit: Visit | None = None
        self._tracks: set[int] = set()
        self._id = ""
        self.playing = False
        self._handlers: dict[str, Callable[[RtspRequest, Target], RtspResponse]] = {
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._get_parameter,
        }

    def handle(self, request: RtspRequest, now_us: int) -> RtspResponse:
        """Answer one request; `now_us` is monotonic time. Raises HangUp when the mount wants no answer at all."""
        response = self._answer(request, now_us)
        items = [("CSeq", request.headers.get("CSeq"))] if "CSeq" in request.headers else []
        items.append(("Server", self._context.name))
        return replace(response, reason=REASONS[response.status], headers=Headers(items + list(response.headers)))

    def receiver_report(self, channel: int, data: bytes) -> None:
        """Interleaved data from the client: RTCP on the odd channels, anything else is none of ours."""
        track, is_rtcp = divmod(channel, 2)
        if is_rtcp and track in self._tracks and self._visit is not None:
            self._visit.receiver_report(track, data)

    def closed(self, cause: str) -> None:
        """The connection is gone."""
        self.playing = False
        if self._visit is not None:
            self._visit.closed(cause)
            self._visit = None

    def _answer(self, request: RtspRequest, now_us: int) -> RtspResponse:
        if request.version != "RTSP/1.0":
            return RtspResponse(505)
        if request.cseq is None:
            return RtspResponse(400)
        if request.method not in METHODS:
            status = 405 if request.method in _KNOWN_ELSEWHERE else 501
            return _with(RtspResponse(status), ("Allow", ", ".join(METHODS)))
        if "Require" in request.headers:
            return _with(RtspResponse(551), ("Unsupported", request.headers.get("Require")))
        if request.method == "OPTIONS":
            return _with(RtspResponse(200), ("Public", ", ".join(METHODS)))
        target = parse_target(request.url)
        if target is None:
            return RtspResponse(400)
        refusal = self._admit(request, target, now_us)
        return refusal if refusal is not None else self._handlers[request.method](request, target)

    def _admit(self, request: RtspRequest, target: Target, now_us: int) -> RtspResponse | None:
        """None when the request may go on. The login is asked for before it is told whether a path exists."""
        known = self._use(target)
        verdict = self._context.gate.check(request, now_us)
        admitted = verdict.user is not None
        if admitted and known and self._mount is not None and verdict.user is not None:
            admitted = self._mount.admits(verdict.user)
        if not admitted:
            if known and verdict.shown and self._visit is not None:
                self._visit.auth_failed()
            return _with(RtspResponse(401), ("WWW-Authenticate", self._context.gate.challenge(now_us, verdict.stale)))
        return None if known else RtspResponse(404)

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
        self._mount, self._mount_key, self._visit = mount, key, mount.visit(self._outlet)
        return True

    def _describe(self, request: RtspRequest, target: Target) -> RtspResponse:
        accepted = request.headers.get("Accept", "application/sdp")
        if not any(word in accepted for word in ("application/sdp", "application/*", "*/*")):
            return RtspResponse(406)
        assert self._mount is not None
        body = describe(self._mount.tracks(), target.base, target.query, self._context.name)
        base = target.base + (f"?{target.query}" if target.query else "") + "/"
        return _with(RtspResponse(200, body=body), ("Content-Type", "application/sdp"), ("Content-Base", base))

    def _setup(self, request: RtspRequest, target: Target) -> RtspResponse:
        assert self._mount is not None
        if self._id and (target.path, target.query) != self._mount_key:
            return RtspResponse(459)
        wrong = self._check_session(request, required=bool(self._id))
        if wrong is not None:
            return wrong
        tracks = self._mount.tracks()
        number = target.track if target.track is not None else (0 if len(tracks) == 1 else None)
        if number is None:
            return RtspResponse(459)
        if number >= len(tracks):
            return RtspResponse(404)
        if self.playing:
            return RtspResponse(455)
        offers = [offer.strip() for offer in request.headers.get("Transport").split(",")]
        if not any(offer.upper().startswith("RTP/AVP/TCP") for offer in offers):
            return RtspResponse(461)
        self._id = self._id or secrets.token_hex(8)
        self._tracks.add(number)
        transport = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1};ssrc={tracks[number].ssrc:08X}"
        return _with(RtspResponse(200), ("Transport", transport), self._session_header())

    def _play(self, request: RtspRequest, target: Target) -> RtspResponse:
        wrong = self._check_session(request, required=True)
        if wrong is not None:
            return wrong
        if self.playing:  # PLAY again is a keep-alive for some clients
            return _with(RtspResponse(200), self._session_header())
        assert self._visit is not None
        self.playing = True
        start = self._visit.play(frozenset(self._tracks))
        return _with(RtspResponse(200), self._session_header(), *self._play_headers(start, target))

    def _play_headers(self, start: PlayStart, target: Target) -> list[tuple[str, str]]:
        suffix = f"?{target.query}" if target.query else ""
        info = ",".join(
            f"url={target.base}/{TRACK_CONTROL}{one.track}{suffix};seq={one.seq};rtptime={one.timestamp}"
            for one in start.first
        )
        headers = [("RTP-Info", info)] if info else []
        if start.utc_us is not None:
            headers.append(("Range", f"clock={_clock_text(start.utc_us)}-"))
        return headers

    def _teardown(self, request: RtspRequest, target: Target) -> RtspResponse:
        wrong = self._check_session(request, required=True)
        if wrong is not None:
            return wrong
        if self.playing and self._visit is not None:
            self._visit.stop()
        self.playing = False
        self._id = ""
        self._tracks.clear()
        return RtspResponse(200)

    def _get_parameter(self, request: RtspRequest, target: Target) -> RtspResponse:
        """An empty one keeps the session alive; there are no parameters to ask for."""
        wrong = self._check_session(request, required=False)
        if wrong is not None:
            return wrong
        if request.body.strip():
            return RtspResponse(451)
        return _with(RtspResponse(200), self._session_header()) if self._id else RtspResponse(200)

    def _check_session(self, request: RtspRequest, required: bool) -> RtspResponse | None:
        given = request.headers.get("Session").partition(";")[0].strip()
        if not given and not required:
            return None
        return None if self._id and given == self._id else RtspResponse(454)

    def _session_header(self) -> tuple[str, str]:
        return "Session", f"{self._id};timeout={self._context.timeout_s}"


def _with(response: RtspResponse, *headers: tuple[str, str]) -> RtspResponse:
    return replace(response, headers=Headers([*response.headers, *headers]))


def _clock_text(utc_us: int) -> str:
    """RFC 2326 §3.7: 19961108T143720.250000Z."""
    return (_EPOCH + timedelta(microseconds=utc_us)).strftime("%Y%m%dT%H%M%S.%fZ")
