"""Reading sample entries back: the counterpart of `mediadb.mp4.entries`.

Law: tolerant of what players tolerate (unknown child boxes, avc3/hev1, QuickTime audio versions), strict about
lengths. Called by `reader` and by whoever holds a stored sample entry and wants to know what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mediadb.mp4.boxes import Budget, Fields, Limits, Mp4Error, children

_VIDEO = {b"avc1": "h264", b"avc3": "h264", b"hvc1": "h265", b"hev1": "h265"}
_AUDIO = {b"mp4a": "aac", b"ulaw": "pcmu", b"alaw": "pcma", b"Opus": "opus", b"twos": "l16", b"g726": "g726"}


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """What a sample entry says.

    `codec`: "h264", "h265", "mjpeg", "aac", "pcmu", "pcma", "opus", "l16", "g726", "metadata", or "" for one that is
    not known here. `parameter_sets`: NAL units in file order. `nal_length_bytes`: 0 for anything else. `asc`:
    AudioSpecificConfig or b"". `media_type`: of metadata.
    """

    fourcc: str
    codec: str
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    parameter_sets: tuple[bytes, ...] = ()
    nal_length_bytes: int = 0
    asc: bytes = b""
    media_type: str = ""

    @property
    def is_video(self) -> bool:
        return self.width > 0


def parse_entry(entry: bytes) -> EntryInfo:
    """Reads one whole sample entry box (size and type included). Mp4Error when it is malformed."""
    budget = Budget(Limits())
    boxes = list(children(Fields(memoryview(entry), "", 0), budget, 0))
    if len(boxes) != 1:
        raise Mp4Error("", 0, f"{len(boxes)} boxes where one sample entry belongs")
    return parse_entry_payload(boxes[0][0], boxes[0][1], budget)


def parse_entry_payload(kind: bytes, fields: Fields, budget: Budget) -> EntryInfo:
    """The same from a cursor behind the box header."""
    fields.take(8)  # reserved, data_reference_index
    if kind in _VIDEO:
        return _video(kind, fields, budget)
    if kind in _AUDIO:
        return _audio(kind, fields, budget)
    if kind == b"mp4v":
        return _mpeg_video(fields, budget)
    if kind == b"mett":
        words = bytes(fields.take(fields.left_bytes)).split(b"\x00")
        return EntryInfo("mett", "metadata", media_type=words[1].decode("latin-1") if len(words) > 2 else "")
    return EntryInfo(kind.decode("latin-1"), "")


def _video(kind: bytes, fields: Fields, budget: Budget) -> EntryInfo:
    fields.take(16)
    width, height = fields.uint(2), fields.uint(2)
    fields.take(50)
    sets: tuple[bytes, ...] = ()
    length_bytes = 0
    for name, inner in children(fields, budget, 1):
        if name == b"avcC":
            length_bytes, sets = _avcc(inner)
        elif name == b"hvcC":
            length_bytes, sets = _hvcc(inner)
    if not length_bytes:
        raise fields.error("no avcC or hvcC in a video sample entry")
    return EntryInfo(kind.decode(), _VIDEO[kind], width, height, parameter_sets=sets, nal_length_bytes=length_bytes)


def _mpeg_video(fields: Fields, budget: Budget) -> EntryInfo:
    """`mp4v`: of what it may hold, only JPEG images are known here."""
    fields.take(16)
    width, height = fields.uint(2), fields.uint(2)
    fields.take(50)
    found = [_esds(inner)[0] for name, inner in children(fields, budget, 1) if name == b"esds"]
    return EntryInfo("mp4v", "mjpeg" if found == [0x6C] else "", width, height)


def _avcc(fields: Fields) -> tuple[int, tuple[bytes, ...]]:
    fields.take(4)
    length_bytes = (fields.uint(1) & 3) + 1
    sets = [bytes(fields.take(fields.uint(2))) for _ in range(fields.uint(1) & 31)]
    sets += [bytes(fields.take(fields.uint(2))) for _ in range(fields.uint(1))]
    return length_bytes, tuple(sets)


def _hvcc(fields: Fields) -> tuple[int, tuple[bytes, ...]]:
    fields.take(21)
    length_bytes = (fields.uint(1) & 3) + 1
    sets: list[bytes] = []
    for _ in range(fields.uint(1)):
        fields.take(1)
        sets += [bytes(fields.take(fields.uint(2))) for _ in range(fields.uint(2))]
    return length_bytes, tuple(sets)


def _audio(kind: bytes, fields: Fields, budget: Budget) -> EntryInfo:
    version = fields.uint(2)
    fields.take(6)
    channels = fields.uint(2)
    fields.take(6)
    rate = fields.uint(4) >> 16
    if version == 1:
        fields.take(16)  # QuickTime sound description v1
    asc = b""
    if kind == b"mp4a":
        for name, inner in children(fields, budget, 1):
            if name == b"esds":
                asc = _esds(inner)[1]
    return EntryInfo(kind.decode(), _AUDIO[kind], sample_rate=rate, channels=channels, asc=asc)


def _open(fields: Fields, tag: int) -> Fields | None:
    """The payload of the next descriptor when it has this tag (ISO/IEC 14496-1 §8.3.3)."""
    if not fields.left_bytes or fields.uint(1) != tag:
        return None
    length = 0
    for _ in range(4):
        octet = fields.uint(1)
        length = length << 7 | octet & 0x7F
        if not octet & 0x80:
            break
    base = fields.base + fields.at
    return Fields(fields.take(length), fields.place, base)


def _esds(fields: Fields) -> tuple[int, bytes]:
    """(object type, decoder specific information or b"")."""
    fields.version_flags()
    stream = _open(fields, 3)
    if stream is None:
        raise fields.error("esds without an ES descriptor")
    stream.take(2)
    flags = stream.uint(1)
    stream.take(2 * (flags >> 7))
    if flags & 0x40:
        stream.take(stream.uint(1))
    stream.take(2 * (flags >> 5 & 1))
    config = _open(stream, 4)
    if config is None:
        raise stream.error("esds without a decoder configuration")
    object_type = config.uint(1)
    config.take(12)
    specific = _open(config, 5)
    return object_type, bytes(specific.view) if specific is not None else b""
