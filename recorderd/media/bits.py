"""Reading codec headers bit by bit.

Law: bytes only; reading past the end or beyond a syntax limit raises BitstreamError and nothing else.
Called by
`h264`, `h265` and `aac`. Bit syntax: H.264 clause 7.2 and 9.1, shared by H.265.
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.core.errors import RecorderdError

MAX_HEADER_BYTES = 8192
_MAX_GOLOMB_ZEROS = 32


class BitstreamError(RecorderdError):
    """A codec header cannot be read."""

    code: ClassVar[str] = "bitstream-error"


class BitReader:
    """Big-endian bits of a header (for NAL units: after `unescape`)."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_HEADER_BYTES:
            raise BitstreamError(f"a codec header of {len(data)} bytes is no header")
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, bits: int) -> int:
        """The next `bits` bits as an unsigned number."""
        if bits > self._left:
            raise BitstreamError("a codec header ends too early")
        self._left -= bits
        return (self._value >> self._left) & ((1 << bits) - 1)

    def flag(self) -> bool:
        return self.u(1) == 1

    def skip(self, bits: int) -> None:
        self.u(bits)

    def ue(self) -> int:
        """Unsigned Exp-Golomb code."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > _MAX_GOLOMB_ZEROS:
                raise BitstreamError("an Exp-Golomb code is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Signed Exp-Golomb code."""
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)
