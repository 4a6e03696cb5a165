"""Every format there and back: described, packetised, read by the product's own receiver; stored entries read back."""

from __future__ import annotations

import random

import pytest

from recorderd.core.clock import FakeClock
from recorderd.engine.sample_entry import track_config
from recorderd.media import jpeg, metadata, opus, pcm
from recorderd.media.access_unit import AccessUnit, Codec, CodecConfig, MediaKind
from recorderd.media.nal import join_units, split_units
from recorderd.rtspserver.describe import describe
from recorderd.rtspserver.mount import Presentation
from recorderd.server.rtsp.formats import MEDIA_KINDS, coded_as, sdp_tracks
from recorderd.server.rtsp.sender import TrackSender
from recorderd.wire.media_plan import plan_media
from recorderd.wire.pay import is_disposable, unit_payloads
from recorderd.wire.sdp import parse_sdp
from recorderd.wire.track import Track, TrackListener
from tests.server.server_scene import audio_clip, video_clip

pytestmark = pytest.mark.fast
DICE = random.Random(3)
G711 = CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8000, sample_rate=8000, channels=1, codec_string="ulaw")
H264 = video_clip().config
XML = b'<?xml version="1.0"?><tt:MetadataStream xmlns:tt="x">' + b"<a/>" * 900 + b"</tt:MetadataStream>"
H265_SETS = (b"\x40\x01vps-vps", b"\x42\x01sps-sps", b"\x44\x01pps-pps")


def split_packets(joined: bytes) -> list[bytes]:
    out, at = [], 0
    while at < len(joined):
        size = int.from_bytes(joined[at + 2 : at + 4], "big")
        assert joined[at] == 0x24
        assert size <= 1400
        out.append(joined[at + 4 : at + 4 + size])
        at += 4 + size
    return out


def there_and_back(config: CodecConfig, datas: list[bytes]) -> list[AccessUnit]:
    """What the product's receiver makes of these units, behind a picture track in the same description."""
    tracks = sdp_tracks([config] if config.kind is MediaKind.VIDEO else [H264, config])
    sdp = describe(Presentation(tracks), "rtsp://h/live/it", "", "recorderd")
    plan = plan_media(parse_sdp(sdp), audio=True)[-1].plan
    units: list[AccessUnit] = []
    track = Track(plan, FakeClock(), TrackListener(lambda _, unit: units.append(unit), lambda *_: None))
    sender = TrackSender(0, tracks[-1], "it")
    for number, data in enumerate(datas):
        for packet in split_packets(sender.unit(config, data, number * 3600, key=number == 0)):
            track.packet(memoryview(packet), 0, len(packet))
    track.depay.flush()
    assert sender.refused == 0
    assert not any(unit.damaged or unit.lost_packets for unit in units)
    return units


def nal_units(heads: list[bytes], sizes: list[int]) -> bytes:
    return join_units(
        [head + DICE.randbytes(size).replace(b"\x00", b"x") for head, size in zip(heads, sizes, strict=True)]
    )


def test_h264_with_small_and_large_nal_units() -> None:
    heads = [b"\x06\x05", b"\x06\x05", b"\x65\x88", b"\x65\x11", b"\x41\x9a", b"\x06\x01"]
    datas = [nal_units(heads[:4], [30, 1300, 9000, 5]), nal_units(heads[4:], [1386, 20])]
    got = there_and_back(H264, datas)
    assert [list(split_units(got[0].data))[-4:], list(split_units(got[1].data))] == [
        list(split_units(data)) for data in datas
    ]
    assert list(split_units(got[0].data))[:2] == list(H264.parameter_sets)
    assert got[0].is_key


def test_h265_aggregates_and_fragments() -> None:
    config = CodecConfig(Codec.H265, MediaKind.VIDEO, 90_000, parameter_sets=H265_SETS)
    data = join_units([*H265_SETS, b"\x4e\x01sei", b"\x26\x01" + b"i" * 5000, b"\x4e\x01end"])
    payloads = [payload for payload, _ in unit_payloads(config, data)]
    kinds = [payload[0] >> 1 & 0x3F for payload in payloads]
    assert kinds == [48, 49, 49, 49, 49, 39]
    at, nals = 2, []
    while at < len(payloads[0]):
        size = int.from_bytes(payloads[0][at : at + 2], "big")
        nals.append(payloads[0][at + 2 : at + 2 + size])
        at += 2 + size
    assert nals == [*H265_SETS, b"\x4e\x01sei"]
    assert payloads[0][:2] == bytes((48 << 1, 1))
    assert b"".join(payload[3:] for payload in payloads[1:5]) == b"i" * 5000
    assert [payload[2] for payload in payloads[1:5]] == [0x80 | 19, 19, 19, 0x40 | 19]


@pytest.mark.parametrize(
    ("config", "datas"),
    [
        (audio_clip().config, [data for data, *_ in audio_clip().samples[:20]]),
        (audio_clip().config, [DICE.randbytes(5000)]),
        (G711, [DICE.randbytes(160), DICE.randbytes(160)]),
        (opus.codec_config(960), [b"\x78" + DICE.randbytes(80), b"\x78" + DICE.randbytes(90)]),
        (metadata.codec_config(metadata.XML), [XML, XML]),
    ],
    ids=["aac", "aac-large", "pcmu", "opus", "metadata"],
)
def test_sound_and_metadata(config: CodecConfig, datas: list[bytes]) -> None:
    assert [unit.data for unit in there_and_back(config, datas)] == datas


@pytest.mark.parametrize("config", [G711, pcm.l16_config(48_000, 2), pcm.g726_config(4, False)])
def test_long_sound_is_cut_at_samples_with_times_of_its_own(config: CodecConfig) -> None:
    data = DICE.randbytes(4800)
    payloads = unit_payloads(config, data, 1000)
    assert b"".join(payload for payload, _ in payloads) == data
    bytes_a_tick = {Codec.PCMU: 1.0, Codec.L16: 4.0, Codec.G726: 0.5}[config.codec]
    at = 0
    for payload, ticks in payloads:
        assert ticks == at / bytes_a_tick
        at += len(payload)
    assert len(payloads) == 5


def test_what_does_not_fit_is_refused_and_counted() -> None:
    config = opus.codec_config(960)
    sender = TrackSender(0, sdp_tracks([config])[0], "it")
    assert sender.unit(config, bytes(3000), 0) == b""
    assert sender.refused == 1
    with pytest.raises(ValueError, match="AAC-hbr"):
        unit_payloads(audio_clip().config, bytes(9000))


@pytest.mark.parametrize(
    "config",
    [H264, audio_clip().config, G711, opus.codec_config(960), pcm.l16_config(16_000, 1), pcm.g726_config(3, True),
     jpeg.codec_config(320, 184), metadata.codec_config(metadata.XML)],
    ids=lambda config: str(config.codec),
)  # fmt: skip
def test_what_was_stored_is_described_as_it_was_received(config: CodecConfig) -> None:
    kind = next(kind for kind, media in MEDIA_KINDS.items() if media is config.kind)
    read = coded_as(track_config(config), kind)
    assert read is not None
    assert (read.codec, read.timebase_hz, read.parameter_sets, read.extra) == (
        config.codec, config.timebase_hz, config.parameter_sets, config.extra,
    )  # fmt: skip


def test_disposable_pictures() -> None:
    def one(head: bytes) -> bytes:
        return join_units([b"\x06\x05sei", head + b"slice"])

    assert is_disposable(Codec.H264, one(b"\x01"))
    assert not is_disposable(Codec.H264, one(b"\x41"))
    assert is_disposable(Codec.H265, join_units([b"\x00\x01trail-n"]))
    assert not is_disposable(Codec.H265, join_units([b"\x02\x01trail-r"]))
    assert not is_disposable(Codec.H265, join_units([b"\x26\x01idr"]))
