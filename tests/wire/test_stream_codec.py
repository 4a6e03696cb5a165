"""The codec of the stream API: any cut of the bytes, hostile bytes, limits, and the page that describes it."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediadb.format.frame_table import FrameTable, encode_table
from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.codec import Decoder, encode, frame, pack, unpack
from recorderd.wire.stream.frame_table import read_table
from recorderd.wire.stream.messages import CLIENT_TYPES, MAX_CLIENT_BYTES, SERVER_TYPES, Message, Type

pytestmark = pytest.mark.fast
DOC = (Path(__file__).parents[2] / "docs/api/stream.md").read_text()


def front(length: int, kind: int = 1, head: int = 0, zero: int = 0) -> bytes:
    return struct.pack(">IBBHII", length, kind, 0, head, 0, zero)


def shown(messages: list[Message]) -> list[tuple[int, int, int, dict[str, object], bytes]]:
    return [(m.type, m.flags, m.subscription, dict(m.head), bytes(m.payload)) for m in messages]


def test_the_hello_of_the_document_byte_by_byte() -> None:
    line = re.search(r"in one line: `([0-9a-f]+)`", DOC)
    assert line is not None
    assert encode(Type.HELLO, 0, {"version": 1, "client": "x"}).hex() == line[1]
    explained = re.search(r"```\n(00 00 00 13.*?)```", DOC, re.DOTALL)
    assert explained is not None
    pieces = [one for one in re.split(r"\s{2,}|\n", explained[1]) if re.fullmatch(r"[0-9a-f]{2}( [0-9a-f]{2})*", one)]
    assert "".join(pieces).replace(" ", "") == line[1]


def test_the_document_names_every_type_with_its_number() -> None:
    rows = dict(re.findall(r"^\| (0x[0-9A-F]{2}) \| `(\w+)` \|", DOC, re.MULTILINE))
    ours = {f"0x{kind:02X}": kind.name.removeprefix("SERVER_").lower() for kind in Type}
    assert rows == ours
    assert len(CLIENT_TYPES) + len(SERVER_TYPES) == len(Type)


def test_the_table_of_the_document() -> None:
    shown_bytes = re.search(r"with 3 samples: `([0-9a-f ]+)`", DOC)
    assert shown_bytes is not None
    rows = read_table(bytes.fromhex(shown_bytes[1]), 3, 8080 + 800 + 900)
    assert [(r.offset, r.size, r.dts, r.cts, r.key_type, r.damaged, r.lost) for r in rows] == [
        (0, 8080, 0, 0, 1, False, 0), (8080, 800, 3600, 0, 0, False, 0), (8880, 900, 7200, 0, 0, False, 0),
    ]  # fmt: skip


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same_messages(data: st.DataObject) -> None:
    heads = st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=5), st.binary(max_size=9)),
        max_size=4,
    )
    sent = [
        (data.draw(st.integers(0, 255)), data.draw(st.integers(0, 255)), data.draw(st.integers(0, 2**32 - 1)),
         data.draw(heads), bytes(data.draw(st.sampled_from([0, 1, 700, 40_000, 70_000]))))
        for _ in range(data.draw(st.integers(1, 5)))
    ]  # fmt: skip
    stream = b"".join(encode(kind, sub, head, payload, flags) for kind, flags, sub, head, payload in sent)
    decoder, got, at = Decoder(1 << 20), [], 0
    while at < len(stream):
        step = data.draw(st.sampled_from([1, 15, 16, 17, 1000, 65_536, 200_000]))
        if step == 1:
            step = min(40, step * 40)
        got += decoder.receive(stream[at : at + step])
        at += step
    assert shown(got) == sent


def test_a_long_message_is_written_straight_to_its_place() -> None:
    payload = random.Random(1).randbytes(300_000)
    stream = encode(Type.CHUNK, 7, {"n": 1}, payload) + encode(Type.PONG)
    decoder, at, got = Decoder(1 << 20), 0, []
    places = set()
    while at < len(stream):
        place = decoder.buffer()
        places.add(len(place))
        count = min(len(place), len(stream) - at, 50_000)
        place[:count] = stream[at : at + count]
        decoder.filled(count)
        at += count
        while (message := decoder.next_message()) is not None:
            got.append(message)
    assert [m.type for m in got] == [Type.CHUNK, Type.PONG]
    assert bytes(got[0].payload) == payload
    assert got[0].wire_bytes == struct.unpack(">I", stream[:4])[0]
    assert max(places) > 200_000  # the rest of the message lay open as one piece


@pytest.mark.parametrize(
    "hostile",
    [
        front(MAX_CLIENT_BYTES + 1),
        front(0xFFFFFFFF),
        front(3, head=4),
        front(0, zero=1),
        front(2, head=2) + b"\x91\x01",  # a list
        front(1, head=1) + b"\xc1",  # a byte that msgpack never uses
        front(3, head=3) + b"\x81\x01\x02",  # a key that is no text
        front(5, head=5) + b"\xdf\xff\xff\xff\xff",  # a map of 4 billion members
        front(6, head=6) + b"\x81\xa1a\xd4\x05\x00",  # an extension type
        front(13, head=13) + b"\x81\xa1a" + msgpack.packb(msgpack.Timestamp(1, 1)),
        front(4, head=4) + b"\x81\xa1a\xa1",  # cut short
        front(6, head=6) + b"\x81\xa1a\x01\x02\x03",  # something behind it
        front(5, head=5) + b"\x81\xa2\xff\xfe\x01",  # no UTF-8
        front(3 + 200, head=3 + 200) + b"\x81\xa1a" + b"\x91" * 199 + b"\x01",  # deep
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh",
    ],
)
def test_hostile_bytes_are_refused(hostile: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder(MAX_CLIENT_BYTES).receive(hostile)


def test_depth_counts_maps_and_lists() -> None:
    deep: object = 1
    for _ in range(8):
        deep = [deep]
    assert unpack(pack(deep)) == deep
    with pytest.raises(ProtocolError, match="deep"):
        unpack(pack([deep]))
    with pytest.raises(ProtocolError, match="deep"):
        unpack(pack({"a": deep}))


def test_random_bytes_never_do_anything_else() -> None:
    rng, whole = random.Random(7), encode(Type.LIVE, 3, {"camera": "gate", "x": [1, {"a": None}], "b": b"\x00"})
    second_layer = 0
    for _ in range(3_000):
        raw = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(16 if rng.random() < 0.3 else 0, len(raw))] = rng.randrange(256)
        decoder = Decoder(MAX_CLIENT_BYTES)
        try:
            second_layer += bool(decoder.receive(bytes(raw) + whole))
        except ProtocolError:
            second_layer += 1
        assert len(decoder._body) <= MAX_CLIENT_BYTES
    assert second_layer > 900


def test_a_head_that_does_not_fit_is_a_bug_of_the_sender() -> None:
    with pytest.raises(ValueError, match="payload"):
        frame(Type.ANSWER, 0, bytes(70_000))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 90_000),
            st.integers(-9000, 9000),
            st.integers(0, 100_000),
            st.integers(0, 11),
            st.integers(0, 300),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=80, deadline=None)
def test_the_table_reads_what_the_database_writes(samples: list[tuple[int, int, int, int, int]]) -> None:
    dts, at = [], 0
    for number, (delta, *_) in enumerate(samples):
        at += delta if number else 0
        dts.append(at)
    cts, sizes, marks, lost = ([one[n] for one in samples] for n in (1, 2, 3, 4))
    rows = read_table(encode_table(FrameTable(dts, cts, sizes, marks, lost)), len(samples), sum(sizes))
    assert [r.dts for r in rows] == dts
    assert [(r.cts, r.size, r.key_type * 2 + r.damaged, r.lost) for r in rows] == [
        (c, s, m, n) for c, s, m, n in zip(cts, sizes, marks, lost, strict=True)
    ]


@pytest.mark.parametrize(
    ("raw", "count", "payload"),
    [
        (b"", 1, 0),
        (b"\x42\x10", 2, 0),
        (b"\x99" * 20, 2, 0),
        (bytes.fromhex("410041004105410041"), 4, 20),
        (bytes.fromhex("41004100410541004100") + b"\x00", 4, 20),
        (bytes.fromhex("41004100410541004100"), 4, 21),
        (bytes.fromhex("41004100410541004100"), 2**32 - 1, 20),
        (bytes.fromhex("41004100410541004100"), -1, 20),
        (bytes.fromhex("41004100410541004100"), 0, 20),
    ],
)
def test_a_broken_table_is_refused(raw: bytes, count: int, payload: int) -> None:
    with pytest.raises(ProtocolError):
        read_table(raw, count, payload)
