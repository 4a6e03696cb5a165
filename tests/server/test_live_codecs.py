"""Live fragments of codecs that no browser plays: an honest MIME type, a movie that other programs read."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from recorderd.media import jpeg, opus, pcm
from recorderd.media import metadata as onvif_metadata
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind, UnitType
from recorderd.server.http.fragments import Fragment, Fragmenter, Init

pytestmark = pytest.mark.fast

PICTURE = jpeg.codec_config(320, 184)


def picture() -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 320, 184, "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((276, 320), 90, np.uint8), format="yuvj420p")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def unit(config: CodecConfig, data: bytes, number: int, each: int, damaged: bool = False) -> AccessUnit:
    kind = UnitType.INTRA_ONLY if config.kind is MediaKind.VIDEO else UnitType.AUDIO
    at_us = number * each * 1_000_000 // config.timebase_hz
    return AccessUnit(data, number * each, number * each, kind, 10**15 + at_us, at_us, config, damaged=damaged)


def movie(sound: CodecConfig, frame: bytes, each: int) -> tuple[str, bytes]:
    """(MIME type, file) of half a second of JPEG pictures with this sound."""
    fragmenter, image = Fragmenter(audio=True), picture()
    mime, out = "", b""
    for number in range(60):
        items = [(MediaKind.VIDEO, unit(PICTURE, image, number, 3600))]
        items += [
            (MediaKind.METADATA, unit(onvif_metadata.codec_config(onvif_metadata.XML), b"<x/>", number, 90_000)),
            (sound.kind, unit(sound, frame, number, each)),
        ]
        for kind, one in items:
            for piece in fragmenter.feed(kind, one):
                if isinstance(piece, Init):
                    mime, out = piece.mime, out + piece.data
                else:
                    assert isinstance(piece, Fragment)
                    out += piece.head + piece.data
    return mime, out


@pytest.mark.parametrize(
    ("sound", "frame", "each", "codecs", "name"),
    [
        (pcm.l16_config(16_000, 1), b"\x01\x00" * 640, 640, "mp4v.6c,twos", "pcm_s16be"),
        (opus.codec_config(1920), b"\x0b\x02" + bytes(40), 1920, "mp4v.6c,opus", "opus"),
    ],
)
def test_other_programs_read_what_browsers_refuse(
    sound: CodecConfig, frame: bytes, each: int, codecs: str, name: str
) -> None:
    mime, data = movie(sound, frame, each)
    assert mime == f'video/mp4; codecs="{codecs}"'
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
        assert container.streams.audio[0].codec_context.name.startswith(name)
        got = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    assert got == [picture()] * len(got)
    assert len(got) > 50


def test_sound_that_no_movie_carries_is_left_out_at_once() -> None:
    mime, data = movie(pcm.g726_config(4, False), bytes(80), 160)
    assert mime == 'video/mp4; codecs="mp4v.6c"'
    with av.open(io.BytesIO(data)) as container:
        assert not container.streams.audio
        assert len([packet for packet in container.demux(container.streams.video[0]) if packet.size]) == 60


def test_damaged_pictures_do_not_stop_the_movie() -> None:
    fragmenter = Fragmenter(audio=False)
    for number, data in enumerate([picture(), b"\xff\xd8\xff\xd9", b"", picture()[:50]]):
        fragmenter.feed(MediaKind.VIDEO, unit(PICTURE, data, number, 3600, damaged=number > 0))
