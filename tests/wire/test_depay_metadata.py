"""ONVIF metadata over RTP: documents to the marker, packed and plain; loss, cameras without markers, bombs, hostile
bytes."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_bench import rtp
from rtp_capture import Received

from recorderd.media import metadata
from recorderd.media.access_unit import Codec, MediaKind, UnitType
from recorderd.wire.depay_metadata import MetadataDepacketiser
from recorderd.wire.media_plan import plan_media
from recorderd.wire.sdp import parse_sdp

pytestmark = pytest.mark.fast


def told(encoding: str = "vnd.onvif.metadata") -> str:
    return f"m=application 0 RTP/AVP 107\na=rtpmap:107 {encoding}/90000\na=recvonly\n"


def document(number: int, size: int = 3000, prolog: bool = True) -> bytes:
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n' if prolog else b""
    frame = f'<tt:Frame UtcTime="2026-01-01T00:00:{number:02}Z">{"x" * size}</tt:Frame>'.encode()
    return (
        head + b'<tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema">' + frame + b"</tt:MetadataStream>\n"
    )


def packed(data: bytes, seq: int, timestamp: int, marker: bool = True, piece: int = 700) -> list[bytes]:
    """One document; every packet has a timestamp of its own, as ONVIF recommends."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    return [rtp(one, seq + n, timestamp + n, marker and n == len(pieces) - 1, pt=107) for n, one in enumerate(pieces)]


def stream(documents: list[bytes], marker: bool = True) -> list[bytes]:
    out: list[bytes] = []
    for n, one in enumerate(documents):
        out += packed(one, len(out), n * 9000, marker)
    return out


DOCUMENTS = [document(n, 2000 + 500 * n, prolog=n % 2 == 0) for n in range(5)]


def test_documents_come_out_whole_although_timestamps_differ() -> None:
    got = Received(told()).feed(stream(DOCUMENTS))
    assert got.data == DOCUMENTS
    assert set(got.kinds) == {MediaKind.METADATA}
    assert {(unit.type, unit.damaged, unit.is_key) for unit in got.units} == {(UnitType.AUDIO, False, False)}
    assert got.units[0].config.codec is Codec.ONVIF_METADATA
    assert got.units[0].config.extra.decode() == "application/vnd.onvif.metadata"


@pytest.mark.parametrize("encoding", ["vnd.onvif.metadata.gzip", "vnd.onvif.metadata+gzip", "vnd.onvif.metadata"])
def test_packed_documents_come_out_unpacked(encoding: str) -> None:
    got = Received(told(encoding)).feed(stream([gzip.compress(one, 1) for one in DOCUMENTS]))
    assert got.data == DOCUMENTS
    assert not any(unit.damaged for unit in got.units)


def test_exi_is_kept_as_it_came() -> None:
    sent = [b"$EXI" + bytes(range(256)) * 9, gzip.compress(b"looks packed"), b"</MetadataStream>"]
    got = Received(told("vnd.onvif.metadata.exi.ext")).feed(stream(sent))
    assert got.data[0] == sent[0]
    assert got.units[0].config.extra.decode() == "application/vnd.onvif.metadata.exi"


def test_a_camera_that_never_sets_the_marker() -> None:
    got = Received(told()).feed(stream(DOCUMENTS, marker=False))
    assert got.data == DOCUMENTS
    assert not any(unit.damaged for unit in got.units)


@pytest.mark.parametrize("zipped", [False, True])
def test_every_loss_costs_one_document_exactly(zipped: bool) -> None:
    sent = [packed(gzip.compress(one, 0) if zipped else one, 0, n * 9000) for n, one in enumerate(DOCUMENTS[:4])]
    flat = [p[:2] + n.to_bytes(2, "big") + p[4:] for n, p in enumerate(p for group in sent for p in group)]
    owner = [n for n, group in enumerate(sent) for _ in group]
    for lost in range(1, len(flat) - 1):
        got = Received(told()).feed(flat[:lost] + flat[lost + 1 :])
        hit = owner[lost]
        assert [u.data for u in got.units if not u.damaged] == [d for n, d in enumerate(DOCUMENTS[:4]) if n != hit], (
            lost
        )
        damaged = [unit.data for unit in got.units if unit.damaged]
        assert len(damaged) == (owner[lost] == owner[lost - 1])
        assert all(DOCUMENTS[hit].startswith(data) for data in damaged)
        assert sum(unit.lost_packets for unit in got.units) + got.track.take_loss() == 1


def test_a_document_with_another_root_is_known_by_how_it_began() -> None:
    sent = [b"<vendor:Box>" + bytes(str(n), "ascii") * 900 + b"</vendor:Box>" for n in range(3)]
    flat = stream(sent)
    first = len(packed(sent[0], 0, 0))
    got = Received(told()).feed(flat[:first] + flat[first + first - 1 :])  # all but the last packet of the second
    assert [unit.data for unit in got.units] == [sent[0], sent[2]]


def test_a_bomb_is_cut_at_the_bound_and_marked() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
    got = Received(told()).feed(stream([bomb, gzip.compress(DOCUMENTS[0])]))
    assert len(got.data[0]) == metadata.MAX_DOCUMENT_BYTES
    assert [unit.damaged for unit in got.units] == [True, False]
    assert got.track.depay.malformed == 1


def test_packed_data_that_breaks_off_is_kept_as_far_as_it_goes() -> None:
    broken = bytearray(gzip.compress(document(1, 90_000), 0))
    broken[-5] ^= 1  # the checksum
    got = Received(told()).feed(stream([bytes(broken), gzip.compress(b"<a/>")[:5]]))
    assert [unit.damaged for unit in got.units] == [True]
    assert got.track.depay.malformed == 2


def test_a_document_that_never_ends_is_bounded() -> None:
    depay = MetadataDepacketiser(lambda *unit: None, metadata.codec_config(metadata.XML))
    for _ in range(200):
        depay.feed(memoryview(b"<tt:Frame>" * 6000), 0, 60_000)
        assert depay.kept_bytes <= metadata.MAX_DOCUMENT_BYTES + 61_000
    assert depay.malformed == 1


def test_metadata_are_planned_last_and_only_beside_a_picture_or_sound() -> None:
    video = "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    kinds = [one.plan.kind for one in plan_media(parse_sdp("v=0\n" + told() + video), audio=True)]
    assert kinds == [MediaKind.VIDEO, MediaKind.METADATA]
    assert [one.plan.kind for one in plan_media(parse_sdp("v=0\n" + told() + video), True, False)] == [MediaKind.VIDEO]
    assert plan_media(parse_sdp("v=0\n" + told()), audio=True) == []
    other = "m=application 0 RTP/AVP 98\na=rtpmap:98 MERCURY/90000\n"
    assert len(plan_media(parse_sdp("v=0\n" + video + other), audio=True)) == 1


STEPS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"<?xml ", b"<tt:MetadataStream>", b"</tt:MetadataStream>", b"\x1f\x8b\x08", DOCUMENTS[0]]),
        st.sampled_from([gzip.compress(DOCUMENTS[0]), gzip.compress(b"<x/>")[:-3], zlib.compress(b"x")]),
        st.sampled_from(["marker", "flush", "gap"]),
    ),
    max_size=40,
)


@pytest.mark.parametrize("media_type", [metadata.XML, metadata.EXI])
@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_any_bytes_give_documents_and_no_exception(media_type: str, steps: list[bytes | str]) -> None:
    documents: list[bytes] = []
    config = metadata.codec_config(media_type)
    depay = MetadataDepacketiser(lambda data, kind, damaged, ticks: documents.append(data), config)
    for step in steps:
        if isinstance(step, bytes):
            depay.feed(memoryview(b"\x00" * 5 + step), 5, 5 + len(step))
        elif step == "gap":
            depay.gap(2)
        else:
            getattr(depay, step)()
    depay.marker()
    assert not depay.parts
    assert all(documents)
