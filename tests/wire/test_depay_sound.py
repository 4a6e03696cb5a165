"""Opus, L16, G.726 and LATM over RTP: what FFmpeg sends comes out as its encoder made it; loss, lies, hostile bytes."""

from __future__ import annotations

import io
import random
import struct
from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_bench import rtp
from rtp_capture import Received, latm, sound, tone

from recorderd.media import aac
from recorderd.media import latm as latm_media
from recorderd.media.access_unit import Codec, UnitType
from recorderd.media.bits import BitstreamError
from recorderd.media.opus import packet_samples
from recorderd.wire.depay_sound import LatmDepacketiser, OpusDepacketiser, SampleDepacketiser
from recorderd.wire.sdp import parse_sdp

pytestmark = pytest.mark.fast

OPUS = "m=audio 0 RTP/AVP 97\na=rtpmap:97 opus/48000/2\n"


def audio(encoding: str, number: int = 97, fmtp: str = "") -> str:
    text = f"m=audio 0 RTP/AVP {number}\na=rtpmap:{number} {encoding}\n"
    return text + (f"a=fmtp:{number} {fmtp}\n" if fmtp else "")


def mux_config(rate: int, channels: int = 1, frames: int = 1) -> str:
    """A StreamMuxConfig as cameras write it: version 0, AAC-LC."""
    bits = f"01{frames - 1:06b}0000000" + f"00010{aac.SAMPLE_RATES.index(rate):04b}{channels:04b}000"
    bits += "000" + "11111111" + "00"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").hex()


def element(*frames: bytes) -> bytes:
    return b"".join(b"\xff" * (len(f) // 255) + bytes((len(f) % 255,)) + f for f in frames)


# -- what FFmpeg sends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["20", "60", "2.5"])
def test_opus_equals_the_encoder(length: str) -> None:
    caught = sound("libopus", 48_000, 2, options={"frame_duration": length})
    got = Received(OPUS).feed(caught.packets)
    assert got.data == caught.frames
    assert got.track.depay.config.frame_ticks == round(float(length) * 48)
    assert not got.events  # the first packet tells its length before anybody was told another
    steps = {b.pts - a.pts for a, b in zip(got.units, got.units[1:], strict=False)}
    assert steps == {round(float(length) * 48)}


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (44_100, 1), (48_000, 2), (16_000, 1)])
def test_l16_equals_the_samples(rate: int, channels: int) -> None:
    caught = sound("pcm_s16be", rate, channels)
    number = caught.packets[0][1] & 127
    static = f"m=audio 0 RTP/AVP {number}\n"
    assert (rate == 44_100) == (number in (10, 11))
    got = Received(static if number < 96 else audio(f"L16/{rate}/{channels}", number)).feed(caught.packets)
    assert b"".join(got.data) == b"".join(caught.frames)
    config = got.track.depay.config
    assert (config.sample_rate, config.channels, config.timebase_hz) == (rate, channels, rate)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize(("encoder", "prefix"), [("g726", "AAL2-"), ("g726le", "")])
def test_g726_equals_the_encoder(encoder: str, prefix: str, bits: int) -> None:
    caught = sound(encoder, 8_000, options={"code_size": str(bits)})
    got = Received(audio(f"{prefix}G726-{bits * 8}/8000")).feed(caught.packets)
    assert b"".join(got.data) == b"".join(caught.frames)
    assert got.track.depay.config.extra == bytes((bits, prefix != ""))
    assert got.track.depay.config.codec is Codec.G726


@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_latm_with_its_config_in_the_description(rate: int) -> None:
    caught = latm(rate)
    fmtp = f"profile-level-id=1;cpresent=0;config={mux_config(rate)}"
    got = Received(audio(f"MP4A-LATM/{rate}/1", fmtp=fmtp)).feed(caught.packets)
    assert got.data == caught.frames
    assert got.track.depay.config.extra == caught.extradata[:2]
    assert {b.pts - a.pts for a, b in zip(got.units, got.units[1:], strict=False)} == {1024}


def test_latm_with_its_config_in_band_equals_ffmpegs_multiplex() -> None:
    """The LATM muxer of FFmpeg writes audioMuxElements with muxConfigPresent, shifted by a bit or more."""
    frames, out = [], io.BytesIO()
    with av.open(out, "w", format="latm") as container:
        stream = container.add_stream("aac", rate=32_000)
        stream.layout = "mono"
        for index in range(30):
            frame = av.AudioFrame.from_ndarray(
                tone(32_000, 1024, 1, index * 1024).astype("f4") / 32768, format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 32_000, index * 1024, Fraction(1, 32_000)
            for packet in stream.encode(frame):
                frames.append(bytes(packet))
                container.mux(packet)
    loas, packets = out.getvalue(), []
    at = 0
    while at < len(loas):
        assert loas[at] == 0x56
        assert loas[at + 1] & 0xE0 == 0xE0
        size = (loas[at + 1] & 0x1F) << 8 | loas[at + 2]
        packets.append(rtp(loas[at + 3 : at + 3 + size], len(packets), len(packets) * 1024, True, pt=97))
        at += 3 + size
    got = Received(audio("MP4A-LATM/32000/1")).feed(packets)
    assert len(packets) == len(frames) > 20
    assert got.data == frames
    assert got.track.depay.config.sample_rate == 32_000
    assert got.track.depay.config.channels == 1


# -- shapes that FFmpeg does not send --------------------------------------------------------------------------------


def test_latm_several_frames_in_an_element_and_elements_in_pieces() -> None:
    frames = [bytes([n]) * size for n, size in enumerate((300, 255, 7))]
    fmtp = f"cpresent=0;config={mux_config(48_000, frames=3)}"
    whole = element(*frames)
    packets = [
        rtp(whole, 0, 0, True, pt=97),
        rtp(whole[:100], 1, 3072, False, pt=97),
        rtp(whole[100:400], 2, 3072, False, pt=97),
        rtp(whole[400:], 3, 3072, True, pt=97),
        rtp(whole, 4, 6144, False, pt=97),  # a camera that sets no marker
        rtp(whole, 5, 9216, False, pt=97),
    ]
    got = Received(audio("MP4A-LATM/48000/1", fmtp=fmtp)).feed(packets)
    assert got.data == frames * 4
    assert [unit.pts - got.units[0].pts for unit in got.units] == [n * 1024 for n in range(12)]


def test_latm_loss_inside_an_element_costs_that_element_only() -> None:
    frames = [bytes([n + 1]) * 500 for n in range(4)]
    packets = []
    for n, frame in enumerate(frames):
        data = element(frame)
        packets += [
            rtp(data[:200], 3 * n, n * 1024, False, pt=97),
            rtp(data[200:400], 3 * n + 1, n * 1024, False, pt=97),
            rtp(data[400:], 3 * n + 2, n * 1024, True, pt=97),
        ]
    fmtp = f"cpresent=0;config={mux_config(48_000)}"
    for lost in range(12):
        got = Received(audio("MP4A-LATM/48000/1", fmtp=fmtp)).feed(packets[:lost] + packets[lost + 1 :])
        hit = lost // 3
        assert got.data == frames[:hit] + frames[hit + 1 :], lost
        if 0 < lost < 9:
            assert [unit.lost_packets for unit in got.units] == [n == hit for n in range(3)]
        assert sum(unit.lost_packets for unit in got.units) + got.track.take_loss() == (0 < lost < 11)


def test_the_rest_of_a_broken_latm_element_is_never_taken_for_one() -> None:
    """Its last packet looks like a whole element by chance."""
    frame = bytes(399) + bytes((99,)) + bytes(99)
    data = element(frame)
    broken = [rtp(data[:200], 1, 0, False, pt=97), rtp(data[-100:], 3, 0, True, pt=97)]
    fmtp = f"cpresent=0;config={mux_config(48_000)}"
    got = Received(audio("MP4A-LATM/48000/1", fmtp=fmtp)).feed([*broken, rtp(data, 4, 1024, True, pt=97)])
    assert got.data == [frame]
    assert [unit.lost_packets for unit in got.units] == [1]


@pytest.mark.parametrize(
    "config",
    ["", "00", "8000", "40", "c0ffff", "7f" * 8, "400026203fc0"[:6], "40802620"],
)
def test_latm_configs_that_cannot_be_read_leave_the_track_out(config: str) -> None:
    text = "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    text += audio("MP4A-LATM/48000/1", fmtp=f"cpresent=0;config={config}")
    from recorderd.wire.media_plan import plan_media

    assert len(plan_media(parse_sdp(text), audio=True)) == 1


def test_a_latm_config_that_ends_behind_the_sound_config() -> None:
    """As GStreamer writes it: an AudioSpecificConfig with its extension, no framing behind it."""
    mux = latm_media.read_config(bytes.fromhex("40002420adca00"))
    assert mux.asc == bytes.fromhex("121056e500")[:4] + b"\x00"
    assert (mux.frames, mux.fixed_bytes, mux.other_bits) == (1, 0, 0)
    assert aac.codec_config(mux.asc, 44_100).channels == 2


def test_opus_packets_that_lie_are_kept_and_marked() -> None:
    got = Received(OPUS).feed(
        [rtp(b"\x03", 1, 0, pt=97), rtp(b"\x03\x00x", 2, 960, pt=97), rtp(b"\x08xy", 3, 1920, pt=97)]
    )
    assert [unit.damaged for unit in got.units] == [True, True, False]
    assert got.track.depay.malformed == 2


def test_odd_lengths_are_cut_to_whole_samples_and_marked() -> None:
    got = Received(audio("L16/48000/2")).feed(
        [rtp(b"abcdefgh", 1, 0, pt=97), rtp(b"abcdefg", 2, 2, pt=97), rtp(b"ab", 3, 3, pt=97)]
    )
    assert [(unit.data, unit.damaged) for unit in got.units] == [(b"abcdefgh", False), (b"abcd", True)]
    assert got.track.depay.malformed == 2


def test_loss_is_counted_once_on_the_next_packet() -> None:
    packets = [rtp(b"\x08" + bytes((n,)), n, n * 960, pt=97) for n in (1, 2, 5, 6)]
    got = Received(OPUS).feed(packets)
    assert [unit.lost_packets for unit in got.units] == [0, 0, 2, 0]
    assert not any(unit.damaged for unit in got.units)


@pytest.mark.parametrize(
    ("text", "codec", "rate", "channels"),
    [
        ("m=audio 0 RTP/AVP 10\n", Codec.L16, 44_100, 2),
        ("m=audio 0 RTP/AVP 11\n", Codec.L16, 44_100, 1),
        ("m=audio 0 RTP/AVP 2\n", Codec.G726, 8_000, 1),
        ("m=audio 0 RTP/AVP 97 \na=rtpmap:97 L16/16000 \n", Codec.L16, 16_000, 1),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 OPUS/90000/1\n", Codec.OPUS, 48_000, 2),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 opus\n", Codec.OPUS, 48_000, 2),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 g726-40/16000/1\n", Codec.G726, 8_000, 1),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 L16/0/99\n", Codec.L16, 44_100, 8),
        ("m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/90000\na=fmtp:97 object=2; cpresent=1\n", Codec.AAC, 90_000, 1),
    ],
)
def test_descriptions_as_devices_write_them(text: str, codec: Codec, rate: int, channels: int) -> None:
    got = Received(text)
    config = got.track.depay.config
    assert (config.codec, config.timebase_hz) == (codec, rate)
    assert channels == config.channels or codec is Codec.AAC


# -- hostile bytes ---------------------------------------------------------------------------------------------------

MAKERS = {
    "opus": lambda emit: OpusDepacketiser(emit),
    "l16": lambda emit: SampleDepacketiser(emit, Received(audio("L16/48000/2")).track.depay.config),
    "g726": lambda emit: SampleDepacketiser(emit, Received(audio("G726-40/8000")).track.depay.config),
    "latm": lambda emit: LatmDepacketiser(
        emit, 48_000, latm_media.read_config(bytes.fromhex(mux_config(48_000))), False
    ),
    "latm in-band": lambda emit: LatmDepacketiser(emit, 48_000, None, True),
}
STEPS = st.lists(st.one_of(st.binary(max_size=120), st.sampled_from(["marker", "flush", "gap"])), max_size=30)


@pytest.mark.parametrize("name", list(MAKERS))
@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_any_bytes_give_units_and_no_exception(name: str, steps: list[bytes | str]) -> None:
    given_out: list[bytes] = []
    depay = MAKERS[name](lambda data, kind, damaged, ticks: given_out.append(data))
    fed = 0
    for step in steps:
        if isinstance(step, bytes):
            depay.feed(memoryview(b"\x00" * 5 + step), 5, 5 + len(step))
            fed += len(step)
        elif step == "gap":
            depay.gap(1)
        else:
            getattr(depay, step)()
    depay.flush()
    assert sum(map(len, given_out)) <= fed
    assert all(given_out)
    assert not depay.parts
    assert not depay.kept_bytes


def test_an_element_that_never_ends_is_bounded() -> None:
    depay = MAKERS["latm"](lambda *unit: None)
    for _ in range(200):
        depay.feed(memoryview(b"\xff" * 1400), 0, 1400)
        assert depay.kept_bytes <= latm_media.MAX_ELEMENT_BYTES + 1500
    assert depay.malformed == 1


def test_mutated_multiplexes_are_frames_or_a_typed_error() -> None:
    dice = random.Random(7)
    config = bytes.fromhex(mux_config(44_100, 2, 2))
    for _ in range(3000):
        data = bytearray(config + dice.randbytes(6))
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        try:
            mux = latm_media.read_config(bytes(data))
            latm_media.read_element(dice.randbytes(40), mux, bool(dice.getrandbits(1)))
        except BitstreamError:
            continue
        assert 1 <= mux.frames <= 64


def test_opus_lengths_by_the_table_of_the_rfc() -> None:
    wanted = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4
    assert [packet_samples(bytes((shape << 3,))) / 48 for shape in range(32)] == wanted
    assert packet_samples(b"\x0b\x03") == 3 * 960
    for bad in (b"", b"\x0b", b"\x0b\x00", struct.pack("BB", 0x1B, 63)):
        with pytest.raises(BitstreamError):
            packet_samples(bad)


def test_units_stand_alone() -> None:
    caught = sound("libopus", 48_000, 1, frames=3)
    assert {unit.type for unit in Received(OPUS).feed(caught.packets).units} == {UnitType.AUDIO}
