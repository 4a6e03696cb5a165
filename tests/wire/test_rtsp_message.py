"""The RTSP codec: one case table, read whole and byte at a time; limits; fuzz."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtsp_message import (
    MAX_HEADER_BYTES,
    Headers,
    InterleavedFrame,
    Message,
    MessageDecoder,
    RtspRequest,
    RtspResponse,
    parse,
)

pytestmark = pytest.mark.fast


def response(*headers: tuple[str, str], status: int = 200, reason: str = "OK", body: bytes = b"") -> RtspResponse:
    return RtspResponse(status, reason, Headers(headers), body)


GOOD: dict[str, tuple[bytes, list[Message]]] = {
    "request": (
        b"OPTIONS rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        [RtspRequest("OPTIONS", "rtsp://h/a", Headers([("CSeq", "1")]))],
    ),
    "blank in url": (
        b"DESCRIBE rtsp://h/a b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        [RtspRequest("DESCRIBE", "rtsp://h/a b", Headers([("CSeq", "1")]))],
    ),
    "response without reason": (b"RTSP/1.0 200\r\nCSeq: 2\r\n\r\n", [response(("CSeq", "2"), reason="")]),
    "bare line feeds": (b"RTSP/1.0 200 OK\nCSeq: 2\n\n", [response(("CSeq", "2"))]),
    "mixed line ends": (b"RTSP/1.0 200 OK\nCSeq: 2\r\n\n", [response(("CSeq", "2"))]),
    "trailing blanks, odd case": (b"RTSP/1.0 200 OK \r\nCseq : 2 \t\r\n\r\n", [response(("Cseq", "2"))]),
    "folded line": (b"RTSP/1.0 200 OK\r\nPublic: A,\r\n B\r\n\r\n", [response(("Public", "A, B"))]),
    "line without colon": (b"RTSP/1.0 200 OK\r\nnonsense\r\nA: b\r\n\r\n", [response(("A", "b"))]),
    "body": (
        b"RTSP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        [response(("content-length", "3"), body=b"abc")],
    ),
    "blank lines before dollar": (b"\r\n\r\n$\x01\x00\x02hi", [InterleavedFrame(1, b"hi")]),
    "empty frame": (b"$\x00\x00\x00", [InterleavedFrame(0, b"")]),
    "media between messages": (
        b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n$\x00\x00\x01x\r\nRTSP/1.0 454 Session Not Found\r\n\r\n",
        [response(("CSeq", "4")), InterleavedFrame(0, b"x"), response(status=454, reason="Session Not Found")],
    ),
    "any byte in a header": (b"RTSP/1.0 200 OK\r\nServer: \xff\xe9\r\n\r\n", [response(("Server", "\xff\xe9"))]),
}

BAD = {
    "binary": b"\x00\x01\x02\x03",
    "not rtsp": b"GET / FTP/1.0\r\n\r\n",
    "status is a word": b"RTSP/1.0 fine OK\r\n\r\n",
    "length is a word": b"RTSP/1.0 200 OK\r\nContent-Length: many\r\n\r\n",
    "length is negative": b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length is huge": b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    "endless header": b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * MAX_HEADER_BYTES,
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_reads(name: str, step: int) -> None:
    data, wanted = GOOD[name]
    decoder = MessageDecoder()
    got = [message for at in range(0, len(data), step) for message in decoder.feed(data[at : at + step])]
    assert got == wanted
    assert decoder.pending_bytes == 0


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [7, 1 << 20])
def test_refuses(name: str, step: int) -> None:
    decoder = MessageDecoder()
    pieces = (BAD[name][at : at + step] for at in range(0, len(BAD[name]), step))
    with pytest.raises(ProtocolError):
        list(chain.from_iterable(map(decoder.feed, pieces)))
    assert decoder.pending_bytes == 0
    with pytest.raises(ProtocolError):
        list(decoder.feed(b"RTSP/1.0 200 OK\r\n\r\n"))


@pytest.mark.parametrize("name", GOOD)
def test_what_is_written_reads_back(name: str) -> None:
    for message in GOOD[name][1]:
        again = next(MessageDecoder().feed(message.encode()))
        assert again.encode() == message.encode()


def test_no_line_break_gets_into_a_header() -> None:
    with pytest.raises(ValueError):
        RtspRequest("OPTIONS", "rtsp://h/\r\nEvil: 1").encode()


def test_headers_show_no_values() -> None:
    assert "secret" not in repr(RtspRequest("OPTIONS", "rtsp://h", Headers([("Authorization", "secret")])))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.lists(st.sampled_from([data for data, _ in GOOD.values()])).map(b"".join))
def test_any_bytes_give_messages_or_protocol_error(data: bytes) -> None:
    outcomes = []
    for step in (1, len(data) or 1):
        decoder, got, error = MessageDecoder(), [], False
        try:
            for at in range(0, len(data), step):
                got += list(decoder.feed(data[at : at + step]))
        except ProtocolError:
            error = True
        assert decoder.pending_bytes <= len(data)
        outcomes.append((got, error))
    assert outcomes[0] == outcomes[1]


def test_partial_message_is_asked_for_again() -> None:
    assert parse(b"\r\nRTSP/1.0 200 OK\r\n", 0, 19) == (None, 2)
