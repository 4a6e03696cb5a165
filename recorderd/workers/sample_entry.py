"""Parameter sets out of an MP4 sample entry, the form in which the media database keeps them.

Law: reads `avcC` (ISO 14496-15 §5.3.3.1) and `hvcC` (§8.3.3.1) inside an avc1/avc3/hvc1/hev1 entry and nothing else;
raises ValueError on anything that is cut off.
"""

from __future__ import annotations

_VISUAL_ENTRY_BYTES = 8 + 78  # box header and VisualSampleEntry (ISO 14496-12 §12.1.3) before the child boxes


def parameter_sets_of(entry: bytes) -> tuple[bytes, ...]:
    """All parameter sets in the order of the box; () for an entry that holds none."""
    pos = _VISUAL_ENTRY_BYTES
    while pos + 8 <= len(entry):
        size, kind = int.from_bytes(entry[pos : pos + 4], "big"), entry[pos + 4 : pos + 8]
        if size < 8 or pos + size > len(entry):
            raise ValueError("a box of the sample entry runs over its end")
        if kind == b"avcC":
            return _avcc(_Reader(entry[pos + 8 : pos + size]))
        if kind == b"hvcC":
            return _hvcc(_Reader(entry[pos + 8 : pos + size]))
        pos += size
    return ()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._pos : self._pos + count]
        if len(piece) != count:
            raise ValueError("the decoder configuration is cut off")
        self._pos += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def _avcc(reader: _Reader) -> tuple[bytes, ...]:
    reader.take(5)
    sets = [reader.take(reader.number(2)) for _ in range(reader.number(1) & 0x1F)]
    sets += [reader.take(reader.number(2)) for _ in range(reader.number(1))]
    return tuple(sets)


def _hvcc(reader: _Reader) -> tuple[bytes, ...]:
    reader.take(22)
    sets = []
    for _ in range(reader.number(1)):
        reader.take(1)
        sets += [reader.take(reader.number(2)) for _ in range(reader.number(2))]
    return tuple(sets)
