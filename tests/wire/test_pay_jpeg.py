"""JPEG to RTP and back: the same pixels; what RFC 2435 cannot say is refused; any bytes are payloads or ValueError."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_sender import image, parse, pixels
from rtp_bench import rtp
from rtp_capture import Received

from recorderd.media import jpeg
from recorderd.media.access_unit import Codec
from recorderd.wire.pay import PAYABLE, unit_payloads
from recorderd.wire.pay_jpeg import jpeg_payloads

pytestmark = pytest.mark.fast


def through(data: bytes, size: tuple[int, int], limit: int = 1388) -> bytes:
    payloads = [one for one, _ in unit_payloads(jpeg.codec_config(*size), data, limit)]
    sent = [rtp(one, n, 0, n == len(payloads) - 1, pt=26) for n, one in enumerate(payloads)]
    assert max(map(len, payloads)) <= limit
    got = Received(f"m=video 0 RTP/AVP 26\na=framesize:26 {size[0]}-{size[1]}\n").feed(sent)
    assert [unit.damaged for unit in got.units] == [False]
    assert (got.units[0].config.width, got.units[0].config.height) == size
    return got.data[0]


@pytest.mark.parametrize("options", [None, {"slices": "4"}])
@pytest.mark.parametrize("size", [(320, 184), (322, 182), (2040, 32)])
def test_there_and_back(size: tuple[int, int], options: dict[str, str] | None) -> None:
    source = image(*size, options=options)
    back = through(source, size)
    assert np.array_equal(pixels(back), pixels(source))
    assert parse(back).interval == parse(source).interval
    assert through(back, size) == back


def test_what_the_format_cannot_say_is_refused() -> None:
    assert Codec.JPEG in PAYABLE
    wide = image(2064, 16)
    own_tables = image(320, 184).replace(b"\x7d\x01\x02\x03", b"\x7d\x02\x01\x03")
    progressive = image(320, 184).replace(b"\xff\xc0\x00\x11", b"\xff\xc2\x00\x11")
    grey = image(320, 184).replace(b"\x03\x01\x22\x00", b"\x03\x01\x11\x00")
    for broken in (wide, own_tables, progressive, grey, b"", b"\xff\xd8\xff\xd9", image(320, 184)[:100]):
        with pytest.raises(ValueError, match=r"JPEG|RFC 2435"):
            jpeg_payloads(broken, 1388)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    try:
        jpeg_payloads(data, 1388)
    except ValueError:
        pass


def test_mutated_images() -> None:
    source, dice = image(64, 32), random.Random(1)
    for _ in range(2000):
        data = bytearray(source)
        for _ in range(dice.randint(1, 5)):
            data[dice.randrange(700)] = dice.getrandbits(8)
        try:
            jpeg_payloads(bytes(data), 1388)
        except ValueError:
            continue
