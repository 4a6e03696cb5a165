"""Numbers that every structure of format version 0 shares.

Law: magics, sizes, flag bits and alignment; no logic beyond rounding. All integers on disk are little-endian, times
are microseconds UTC as i64 with `NO_TIME` for none, absent sequence numbers are `NO_SEQ`, CRC is CRC-32 (zlib).
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 0
BLOCK_ALIGN: Final = 4096

MAGIC_VOLUME: Final = b"RMDBVOL\x00"
MAGIC_LOG: Final = b"RMDBLOG\x00"
MAGIC_SEGMENT: Final = b"RMDBSEG\x00"
MAGIC_BLOCK: Final = b"RBLK"
MAGIC_CHUNK: Final = b"RCHK"
MAGIC_FOOTER: Final = b"RFTR"
MAGIC_TRAILER: Final = b"RMDBEND\x00"
MAGIC_PAGE: Final = b"RLPG"

NO_TIME: Final = -(1 << 63)
NO_SEQ: Final = (1 << 64) - 1
NO_COMMIT: Final = (0, NO_SEQ)  # (epoch, counter) that stands for "none"
NIL_UUID_BYTES: Final = bytes(16)
NO_HASH: Final = bytes(32)

SALT_LEN: Final = 16
MAX_CHUNK_BYTES: Final = 1 << 30  # header + frame table + payload; a longer claim is damage
MAX_CHUNK_FRAMES: Final = 1 << 20
MAX_BLOCK_BYTES: Final = 1 << 32
MAX_BLOCK_CHUNKS: Final = 1 << 20

# Short codec words have a number in chunk headers; the CONFIG record has the whole truth.
CODECS: Final[dict[str, int]] = {
    "": 0,
    "h264": 1,
    "h265": 2,
    "av1": 3,
    "mjpeg": 4,
    "aac": 16,
    "pcmu": 17,
    "pcma": 18,
    "opus": 19,
    "l16": 20,
    "g726": 21,
    "metadata": 32,
}


def align_up(value: int, align: int = BLOCK_ALIGN) -> int:
    """The smallest multiple of `align` (a power of two) that is not below `value`."""
    return (value + align - 1) & ~(align - 1)
