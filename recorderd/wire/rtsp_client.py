"""The client's side of an RTSP session: which request comes next, what an answer means.

Law: sans-IO: `next_request` and `receive` alternate until `playing`; the caller moves bytes and counts time.
Knows nothing of sockets or drivers; failures are the typed errors below and ProtocolError. Called by the
driver
shell. RFC 2326; what cameras do differently is named where it is allowed for.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from recorderd.core.errors import RecorderdError
from recorderd.wire.auth import Authenticator, Credentials, parse_challenges
from recorderd.wire.rtsp_message import Headers, RtspRequest, RtspResponse
from recorderd.wire.rtsp_reply import Lower, PlayTimes, SetupReply, parse_play, parse_session, parse_transport
from recorderd.wire.rtsp_url import RtspUrl, base_url, control_url, redirect_target
from recorderd.wire.sdp import MediaDescription, SessionDescription, parse_sdp

USER_AGENT = "recorderd"
MAX_STALE = 1  # requests repeated because the nonce had aged, until one is granted
MAX_REDIRECTS = 2


class StatusError(RecorderdError):
    """The camera answered with a status that ends the attempt."""

    code = "rtsp-status"

    def __init__(self, status: int, reason: str, method: str) -> None:
        super().__init__(f"{method} answered {status} {reason}".rstrip(), status=status, method=method)
        self.status = status
        self.method = method


class LoginRefused(RecorderdError):
    """The camera refused the login; `sent` says whether credentials had been sent at all."""

    code = "login-refused"

    def __init__(self, message: str, sent: bool) -> None:
        super().__init__(message, sent=sent)
        self.sent = sent


class RedirectedError(RecorderdError):
    """The camera moved to another port or path of the same host: connect to `target`."""

    code = "redirected"

    def __init__(self, target: RtspUrl) -> None:
        super().__init__(f"redirected to {target.url}")
        self.target = target


class TransportRefused(RecorderdError):
    """SETUP asked for `asked`; the camera refused with 461 (`answered` None) or answered with another transport."""

    code = "transport-refused"

    def __init__(self, asked: Lower, answered: Lower | None) -> None:
        how = "refuses it" if answered is None else f"answers with {answered.value}"
        super().__init__(f"the camera was asked for media by {asked.value} and {how}", asked=asked.value)
        self.asked = asked
        self.answered = answered


class State(enum.Enum):
    OPTIONS = "options"
    DESCRIBE = "describe"
    CHOOSE = "choose"  # waits for `setup`
    SETUP = "setup"
    PLAY = "play"
    PLAYING = "playing"


@dataclass(slots=True)
class PlannedTrack:
    """A medium to set up; `channels` are asked for, then what the camera answered. `reply` once it did."""

    media: MediaDescription
    url: str
    channels: tuple[int, int]
    ports: tuple[int, int] | None = None  # ours, for UDP
    reply: SetupReply | None = None

    @property
    def done(self) -> bool:
        return self.reply is not None


@dataclass(slots=True)
class SessionFacts:
    """What the camera said of the session."""

    methods: frozenset[str] = frozenset()
    server: str = ""
    session_id: str = ""
    timeout_s: int = 60
    play: PlayTimes = field(default_factory=PlayTimes)


class ClientSession:
    """One session on one connection. `cnonce` gives fresh random text for digests."""

    def __init__(self, url: RtspUrl, credentials: Credentials | None, cnonce: Callable[[], str]) -> None:
        self.url = url
        self.facts = SessionFacts()
        self.description: SessionDescription | None = None
        self.tracks: list[PlannedTrack] = []
        self.lower = Lower.TCP
        self.state = State.OPTIONS
        self._attempts = credentials.attempts if credentials is not None else 0
        self._auth = Authenticator(credentials, cnonce) if credentials is not None else None
        self._base = url.url
        self._cseq = 0
        self._refused = self._stale = 0
        self._sent_credentials = False
        self._request: RtspRequest | None = None

    @property
    def playing(self) -> bool:
        return self.state is State.PLAYING

    def retarget(self, url: RtspUrl) -> None:
        """Use another path of the same camera; allowed before DESCRIBE was answered."""
        self.url, self._base = url, url.url

    def next_request(self) -> RtspRequest:
        """The request of the present state; again after a 401, with the new credentials."""
        if self.state is State.OPTIONS:
            return self._make("OPTIONS", self.url.url)
        if self.state is State.DESCRIBE:
            return self._make("DESCRIBE", self.url.url, ("Accept", "application/sdp"))
        if self.state is State.SETUP:
            track = next(track for track in self.tracks if not track.done)
            return self._make("SETUP", track.url, ("Transport", self._offer(track)))
        if self.state is State.PLAY:
            return self._make("PLAY", self._aggregate_url(), ("Range", "npt=0.000-"))
        raise AssertionError(f"no request follows in state {self.state.value}")

    def receive(self, response: RtspResponse) -> None:
        """Take the answer to the request given last. Raises StatusError, LoginRefused, RedirectedError or
        ProtocolError; otherwise the state went on, or the same request is due again with credentials."""
        request = self._request
        assert request is not None
        if response.status in (401, 403):
            self._refuse(response)
            return
        if 300 <= response.status < 400 and response.headers.get("Location"):
            raise RedirectedError(redirect_target(self.url, response.headers.get("Location")))
        if not 200 <= response.status < 300:
            if self.state is State.OPTIONS and response.status not in (453, 503):
                # Some cameras know no OPTIONS; what matters is whether they describe.
                self.state = State.DESCRIBE
                return
            if response.status == 461 and self.state is State.SETUP:
                raise TransportRefused(self.lower, None)
            raise StatusError(response.status, response.reason, request.method)
        self._refused = self._stale = 0
        self._advance(response)

    def setup(
        self, media: list[MediaDescription], lower: Lower = Lower.TCP, ports: list[tuple[int, int]] | None = None
    ) -> None:
        """Choose what to receive and how, after DESCRIBE; `next_request` goes on with SETUP. UDP needs the receiver's
        `ports`, a pair per medium."""
        assert self.state is State.CHOOSE
        self.lower = lower
        self.tracks = [
            PlannedTrack(
                one, control_url(self._base, one.control), (2 * index, 2 * index + 1), ports[index] if ports else None
            )
            for index, one in enumerate(media)
        ]
        self.state = State.SETUP

    def keep_alive(self) -> RtspRequest:
        """GET_PARAMETER where the camera announced it, else OPTIONS (some hang up on the former)."""
        method = "GET_PARAMETER" if "GET_PARAMETER" in self.facts.methods else "OPTIONS"
        return self._make(method, self._aggregate_url())

    def kept_alive(self, response: RtspResponse) -> bool:
        """Take a keep-alive's answer; True when it must be sent again with fresh credentials. Other failures
        are ignored: media that flows matters more than this answer."""
        if response.status != 401:
            self._refused = self._stale = 0
            return False
        self._refuse(response)
        return True

    def teardown(self) -> RtspRequest | None:
        """The goodbye, or None when there is no session yet."""
        return self._make("TEARDOWN", self._aggregate_url()) if self.facts.session_id else None

    def rtp_info(self, track: PlannedTrack) -> int | None:
        """The camera's rtptime for this track in PLAY's answer, or None."""
        times = self.facts.play.rtptimes
        for url, rtptime in times:
            if url == track.url or (url and track.url.endswith(url)) or url.endswith("/" + track.media.control):
                return rtptime
        return times[0][1] if len(times) == len(self.tracks) == 1 else None

    def _advance(self, response: RtspResponse) -> None:
        if self.state is State.OPTIONS:
            public = response.headers.get("Public")
            self.facts.methods = frozenset(word.strip().upper() for word in public.split(",") if word.strip())
            self.facts.server = response.headers.get("Server")[:120]
            self.state = State.DESCRIBE
        elif self.state is State.DESCRIBE:
            self._describe(response)
        elif self.state is State.SETUP:
            self._set_up(parse_transport(response.headers.get("Transport")), response)
        elif self.state is State.PLAY:
            self.facts.play = parse_play(response.headers)
            self.state = State.PLAYING

    def _describe(self, response: RtspResponse) -> None:
        self.description = parse_sdp(response.body)
        base = base_url(self.url.url, response.headers.get("Content-Base"), response.headers.get("Content-Location"))
        self._base = base
        self.state = State.CHOOSE

    def _offer(self, track: PlannedTrack) -> str:
        if self.lower is Lower.TCP:
            return f"RTP/AVP/TCP;unicast;interleaved={track.channels[0]}-{track.channels[1]}"
        if self.lower is Lower.MULTICAST:
            return "RTP/AVP;multicast"
        assert track.ports is not None
        return f"RTP/AVP;unicast;client_port={track.ports[0]}-{track.ports[1]}"

    def _set_up(self, reply: SetupReply, response: RtspResponse) -> None:
        track = next(track for track in self.tracks if not track.done)
        track.channels = reply.channels or track.channels
        track.reply = reply
        if not self.facts.session_id:
            # Some cameras change the id with every SETUP and honour the first.
            self.facts.session_id, self.facts.timeout_s = parse_session(response.headers.get("Session"))
        if reply.lower not in (None, self.lower):
            raise TransportRefused(self.lower, reply.lower)  # there is a session now: TEARDOWN ends it
        if all(track.done for track in self.tracks):
            self.state = State.PLAY

    def _aggregate_url(self) -> str:
        return control_url(self._base, self.description.control if self.description else "")

    def _make(self, method: str, url: str, *headers: tuple[str, str]) -> RtspRequest:
        self._cseq += 1
        fields = Headers([("CSeq", str(self._cseq)), ("User-Agent", USER_AGENT)])
        if self.facts.session_id:
            fields.add("Session", self.facts.session_id)
        for name, value in headers:
            fields.add(name, value)
        login = self._auth.header(method, url) if self._auth is not None else None
        self._sent_credentials = login is not None
        if login is not None:
            fields.add("Authorization", login)
        self._request = RtspRequest(method, url, fields)
        return self._request

    def _refuse(self, response: RtspResponse) -> None:
        """A 401 or 403: take its challenge, or give up. Exactly `Credentials.attempts` requests that carry them
        may be refused, because cameras lock out; a nonce that merely aged is no refusal, once."""
        if self._auth is None:
            raise LoginRefused("the camera asks for a login: set username and password", sent=False)
        challenges = parse_challenges(response.headers.all("WWW-Authenticate"))
        if self._sent_credentials:
            if any(one.stale for one in challenges) and self._stale < MAX_STALE:
                self._stale += 1
            else:
                self._refused += 1
                self._auth.refused()
        if self._refused >= self._attempts > 0:
            times = "twice" if self._refused > 1 else "again"
            raise LoginRefused(f"the camera refused username or password {times}: correct them", sent=True)
        if self._auth.accept(challenges):
            return
        if not challenges and self._auth.ready:
            return  # a bare 403 or 401: the old challenge once more
        if challenges or response.headers.get("WWW-Authenticate"):
            raise LoginRefused("the camera offers no way to log in that is supported", sent=self._sent_credentials)
        raise LoginRefused(f"the camera refused with {response.status} and no challenge", self._sent_credentials)
