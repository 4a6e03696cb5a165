"""Makes the clip that the synthetic driver repeats.

Run: python tests/drivers/synthetic/make_clip.py drivers/synthetic/clip.bin

One second at 25 fps, 320x180, H.264 main profile without B-frames: a bright square walks over a gradient. The file
format is the one that `drivers.synthetic.clip` reads.
"""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FRAMES = 320, 180, 25
SEI, AUD = 6, 9


def pictures() -> list[av.VideoFrame]:
    ramp = np.tile(np.linspace(40, 120, WIDTH, dtype=np.uint8), (HEIGHT, 1))
    made = []
    for number in range(FRAMES):
        luma = ramp.copy()
        left = 20 + number * 10
        luma[70:110, left : left + 40] = 230
        picture = np.full((HEIGHT * 3 // 2, WIDTH), 128, dtype=np.uint8)
        picture[:HEIGHT] = luma
        made.append(av.VideoFrame.from_ndarray(picture, format="yuv420p"))
    return made


def encode() -> list[bytes]:
    """Annex B access units."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {
        "preset": "veryslow", "crf": "30", "threads": "1",
        "x264-params": "keyint=25:bframes=0:scenecut=0:annexb=1:repeat-headers=1",
    }  # fmt: skip
    packets = []
    for number, picture in enumerate(pictures()):
        picture.pts = number
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return [bytes(packet) for packet in packets]


def nal_units(annex_b: bytes) -> list[bytes]:
    pieces = annex_b.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    return [piece for piece in pieces if piece and piece[0] & 31 not in (SEI, AUD)]


def main() -> None:
    out = struct.pack(">4sHH", b"RSYN", 25, FRAMES)
    for unit in encode():
        data = b"".join(struct.pack(">I", len(nal)) + nal for nal in nal_units(unit))
        out += struct.pack(">I", len(data)) + data
    Path(sys.argv[1]).write_bytes(out)
    print(f"{sys.argv[1]}: {len(out)} bytes")


if __name__ == "__main__":
    main()
