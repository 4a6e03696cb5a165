"""The checksum on disk is the one that everybody's CRC-32 computes."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediadb.format.checksum import crc32

pytestmark = pytest.mark.fast


@given(st.binary(max_size=5_000), st.integers(0, 2**32 - 1), st.integers(0, 64))
def test_the_same_numbers_as_the_standard_library(data: bytes, start: int, offset: int) -> None:
    assert crc32(data) == zlib.crc32(data)
    assert crc32(data, start) == zlib.crc32(data, start)
    assert crc32(memoryview(data)[offset:]) == zlib.crc32(data[offset:])
    assert crc32(bytearray(data)) == zlib.crc32(data)


def test_long_ones_in_pieces() -> None:
    data = bytes(range(256)) * 20_000
    assert crc32(data[70_001:], crc32(data[:70_001])) == crc32(data) == zlib.crc32(data)
