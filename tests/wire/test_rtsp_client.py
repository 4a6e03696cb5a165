"""The client's session without a network: order of requests, logins, addresses, answers' headers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorderd.core.errors import RecorderdError
from recorderd.core.secret import Secret
from recorderd.wire.auth import Credentials
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_client import ClientSession, LoginRefused, RedirectedError, State, StatusError
from recorderd.wire.rtsp_message import Headers, RtspResponse
from recorderd.wire.rtsp_reply import Lower, parse_play, parse_session, parse_transport
from recorderd.wire.rtsp_url import base_url, control_url, parse_url, with_path

pytestmark = pytest.mark.fast

SDP = b"v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
DIGEST = ("WWW-Authenticate", 'Digest realm="r", nonce="n"')


def session(login: bool = False) -> ClientSession:
    credentials = Credentials("u", Secret("p")) if login else None
    return ClientSession(parse_url("rtsp://cam/a?b=1"), credentials, lambda: "c")


def answer(status: int = 200, *headers: tuple[str, str], body: bytes = b"") -> RtspResponse:
    return RtspResponse(status, "", Headers(headers), body)


def test_the_whole_way() -> None:
    client = session()
    assert client.next_request().method == "OPTIONS"
    client.receive(answer(200, ("Public", "OPTIONS, get_parameter"), ("Server", "s")))
    assert client.next_request().method == "DESCRIBE"
    client.receive(answer(200, ("Content-Base", "rtsp://cam/base/"), body=SDP))
    assert client.state is State.CHOOSE
    assert client.description is not None
    client.setup([client.description.media[0]])
    setup = client.next_request()
    assert (setup.method, setup.url) == ("SETUP", "rtsp://cam/base/track1")
    assert setup.headers.get("Transport") == "RTP/AVP/TCP;unicast;interleaved=0-1"
    client.receive(answer(200, ("Session", "77;timeout=20"), ("Transport", "RTP/AVP/TCP;interleaved=2-3")))
    assert client.tracks[0].channels == (2, 3)
    play = client.next_request()
    assert (play.method, play.url, play.headers.get("Session")) == ("PLAY", "rtsp://cam/base/", "77")
    client.receive(answer(200, ("RTP-Info", "url=rtsp://cam/base/track1;seq=1;rtptime=99")))
    assert client.playing
    assert client.rtp_info(client.tracks[0]) == 99
    assert client.facts.timeout_s == 20
    assert client.keep_alive().method == "GET_PARAMETER"
    goodbye = client.teardown()
    assert goodbye is not None
    assert goodbye.method == "TEARDOWN"
    numbers = [int(one.headers.get("CSeq")) for one in (setup, play, goodbye)]
    assert numbers == sorted(set(numbers))


def refuse(client: ClientSession, sent: list[bool], more: str = "") -> None:
    """Refuse the next request with a fresh nonce; note whether it carried credentials."""
    sent.append("Authorization" in client.next_request().headers)
    client.receive(answer(401, ("WWW-Authenticate", f'Digest realm="r", nonce="{len(sent)}"{more}')))


def test_two_refusals_with_credentials_and_no_third() -> None:
    client, sent = session(login=True), list[bool]()
    refuse(client, sent)
    refuse(client, sent)
    with pytest.raises(LoginRefused) as refused:
        refuse(client, sent)
    assert sent == [False, True, True]
    assert refused.value.sent


def test_an_aged_nonce_is_no_refusal_but_not_for_ever() -> None:
    client, sent = session(login=True), list[bool]()
    for _ in range(3):
        refuse(client, sent, ", stale=true")
    with pytest.raises(LoginRefused):
        refuse(client, sent, ", stale=true")
    assert sent == [False, True, True, True]


def test_one_refusal_is_enough_for_a_login_that_was_refused_before() -> None:
    credentials = Credentials("u", Secret("p"), attempts=1)
    client, sent = ClientSession(parse_url("rtsp://cam/a"), credentials, lambda: "c"), list[bool]()
    refuse(client, sent)
    with pytest.raises(LoginRefused) as refused:
        refuse(client, sent)
    assert sent == [False, True]
    assert refused.value.sent


def test_success_forgets_refusals_and_keep_alive_logs_in_again() -> None:
    client = session(login=True)
    client.next_request()
    client.receive(answer(401, DIGEST))
    client.next_request()
    client.receive(answer(200))
    assert "Authorization" in client.keep_alive().headers
    assert client.kept_alive(answer(401, ("WWW-Authenticate", 'Digest realm="r", nonce="new"')))
    assert 'nonce="new"' in client.keep_alive().headers.get("Authorization")
    assert not client.kept_alive(answer(200))


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (401, [DIGEST], LoginRefused),
        (503, [], StatusError),
        (302, [("Location", "rtsp://cam:8554/x")], RedirectedError),
        (302, [("Location", "rtsp://elsewhere/x")], ProtocolError),
        (302, [], StatusError),
    ],
)
def test_answers_that_end_the_attempt(status: int, headers: list[tuple[str, str]], error: type[Exception]) -> None:
    client = session()
    client.next_request()
    client.receive(answer())
    client.next_request()
    with pytest.raises(error):
        client.receive(answer(status, *headers))


ADDRESSES = {
    "rtsp://h/x": ("h", 554, "rtsp://h/x"),
    " rtsp://h:8554/a b\n": ("h", 8554, "rtsp://h:8554/ab"),
    "RTSP://[::1]:99/?a=1&amp;b=2": ("::1", 99, "rtsp://[::1]:99/?a=1&b=2"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses(text: str) -> None:
    url = parse_url(text)
    assert (url.host, url.port, url.url) == ADDRESSES[text]


@pytest.mark.parametrize("path", ["/b?stream=sub", "b?stream=sub"])
def test_another_path(path: str) -> None:
    assert with_path(parse_url("rtsp://h:1/a?x=1"), path).url == "rtsp://h:1/b?stream=sub"
    assert with_path(parse_url("rtsp://h"), path).url == "rtsp://h/b?stream=sub"


BASES = {
    ("", ""): "rtsp://h/a",
    ("rtsp://i/b/", "rtsp://j/"): "rtsp://i/b/",
    ("", "rtsp://j/"): "rtsp://j/",
    ("10.0.0.1:554/x/", ""): "rtsp://10.0.0.1:554/x/",
    ("rtsp://rtsp://i/b/", ""): "rtsp://i/b/",
    ("nonsense", ""): "rtsp://h/a",
}


@pytest.mark.parametrize("given_", BASES)
def test_base(given_: tuple[str, str]) -> None:
    assert base_url("rtsp://h/a", *given_) == BASES[given_]


CONTROLS = {
    ("rtsp://h/a", "*"): "rtsp://h/a",
    ("rtsp://h/a", ""): "rtsp://h/a",
    ("rtsp://h/a", "t1"): "rtsp://h/a/t1",
    ("rtsp://h/a/", "t1"): "rtsp://h/a/t1",
    ("rtsp://h/a?b=1", "trackID=1"): "rtsp://h/a?b=1/trackID=1",
    ("rtsp://h/a/", "rtsp://x/t1"): "rtsp://x/t1",
}


@pytest.mark.parametrize("given_", CONTROLS)
def test_control(given_: tuple[str, str]) -> None:
    assert control_url(*given_) == CONTROLS[given_]


def test_reply_headers() -> None:
    assert parse_transport("RTP/AVP/TCP;unicast;interleaved=6").channels == (6, 7)
    assert parse_transport("").lower is None
    udp = parse_transport("RTP/AVP;unicast;client_port=1-2;server_port=6970-6971;ssrc=AB;source=10.0.0.9")
    assert (udp.lower, udp.ports, udp.source) == (Lower.UDP, (6970, 6971), "10.0.0.9")
    group = parse_transport('RTP/AVP/UDP;multicast;destination="239.1.1.1";port=5000-5001;ttl=8')
    assert (group.lower, group.group, group.ports, group.ttl) == (Lower.MULTICAST, "239.1.1.1", (5000, 5001), 8)
    assert parse_transport("RTP/AVP;unicast;server_port=99999").ports is None
    assert parse_transport("RTP/AVP;multicast;ttl=999;port=x").ports is None
    assert parse_session("abc ; timeout = 5") == ("abc", 5)
    assert parse_session("abc;timeout=0") == ("abc", 60)
    times = parse_play(Headers([("Range", "clock=19700101T000001.25Z-"), ("RTP-Info", "url=a;rtptime=5;,url=b;seq=1")]))
    assert times.start_utc_us == 1_250_000
    assert times.rtptimes == (("a", 5),)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(100, 600), st.text(max_size=30), st.text(max_size=60)), max_size=8))
def test_any_answers_give_a_state_or_a_typed_error(answers: list[tuple[int, str, str]]) -> None:
    client = session(login=True)
    names = ["WWW-Authenticate", "Location", "Transport", "Session", "RTP-Info", "Range", "Content-Base", "Public"]
    try:
        for status, one, two in answers:
            if client.state is State.CHOOSE and client.description is not None:
                client.setup(list(client.description.media))
            client.next_request()
            headers = [(name, one + two) for name in names]
            client.receive(answer(status if status > 299 else 200, *headers, body=SDP))
            if client.playing:
                client.teardown()
                break
    except RecorderdError:
        pass
