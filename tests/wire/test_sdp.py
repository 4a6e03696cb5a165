"""Session descriptions of cameras, tidy and not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorderd.media.access_unit import Codec, MediaKind
from recorderd.wire.errors import ProtocolError
from recorderd.wire.media_plan import plan_media
from recorderd.wire.sdp import parse_sdp

pytestmark = pytest.mark.fast

TIDY = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAH5Y1QKALdNQEBAQI,aM48gA==\r\na=control:track1\r\n"
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n"
    "a=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190\r\na=control:track2\r\n"
)


def test_tidy() -> None:
    session = parse_sdp(TIDY)
    assert session.control == "*"
    video, audio = session.media
    assert (video.kind, video.control, video.formats[0].encoding, video.formats[0].clock_hz) == (
        "video", "track1", "H264", 90000,
    )  # fmt: skip
    assert audio.formats[0].parameters["config"] == "1190"
    plans = plan_media(session, audio=True)
    assert [one.plan.kind for one in plans] == [MediaKind.VIDEO, MediaKind.AUDIO]
    assert [one.plan.leads for one in plans] == [True, False]
    depay = plans[0].plan.make_depacketiser(lambda *_: None)
    assert depay.config.codec is Codec.H264
    assert len(depay.config.parameter_sets) == 2
    assert [one.plan.kind for one in plan_media(session, audio=False)] == [MediaKind.VIDEO]


UNTIDY = {
    "no o=, no final newline": "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000",
    "several s= and i= in a media": "v=0\ns=a\nm=video 0 RTP/AVP 96\ns=b\ni=c\ns=d\na=rtpmap:96 H264/90000\n",
    "bad c= and t=": "v=0\nc=what\nt=ever\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "unknown media first": "v=0\nm=application/MERCURY 0 RTP/AVP 107\na=rtpmap:107 x/90000\n"
    "m=smart/1/90000\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "empty fmtp": "v=0\nm=video 0 RTP/AVP 96\na=fmtp:96\na=fmtp:\na=rtpmap:96 H264/90000\n",
    "blank behind the clock": "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000 \n",
    "type of rtpmap differs": "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:97 H264/90000\n",
    "control first and twice": "v=0\nm=video 0 RTP/AVP 96\na=control:x\na=control:y\na=rtpmap:96 H264/90000\n",
    "junk in sprop": "v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets=%%%,AAAA\n",
    "everything sendonly": "v=0\nm=video 0 RTP/AVP 96\na=sendonly\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", UNTIDY)
def test_untidy_still_gives_the_picture(name: str) -> None:
    plans = plan_media(parse_sdp(UNTIDY[name]), audio=True)
    assert [one.plan.kind for one in plans] == [MediaKind.VIDEO]
    assert 96 in plans[0].plan.payload_types


def test_fmtp_under_the_wrong_media_is_given_back() -> None:
    text = TIDY.replace("a=fmtp:97", "a=x:97") + "m=application 0 RTP/AVP 99\na=fmtp:97 config=1210\n"
    assert parse_sdp(text).media[1].formats[0].parameters == {"config": "1210"}


def test_backchannel_is_left_out() -> None:
    text = TIDY.replace("a=rtpmap:97", "a=sendonly\r\na=rtpmap:97")
    assert [one.plan.kind for one in plan_media(parse_sdp(text), audio=True)] == [MediaKind.VIDEO]


def test_pcma_without_rtpmap() -> None:
    (plan,) = plan_media(parse_sdp("v=0\nm=audio 0 RTP/AVP 8\n"), audio=True)
    assert plan.plan.make_depacketiser(lambda *_: None).config.codec is Codec.PCMA


def test_aac_8_khz_config_1588() -> None:
    (plan,) = plan_media(
        parse_sdp("v=0\nm=audio 0 RTP/AVP 97\na=rtpmap:97 mpeg4-generic/8000\na=fmtp:97 config=1588\n"), audio=True
    )
    config = plan.plan.make_depacketiser(lambda *_: None).config
    assert (config.sample_rate, config.channels, config.extra) == (8000, 1, b"\x15\x88")


def test_nothing_known_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        parse_sdp("<html>404</html>")


_LINES = [line + "\n" for text in (TIDY, *UNTIDY.values()) for line in text.splitlines()]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(_LINES) | st.text(max_size=20)).map("".join))
def test_any_text_gives_a_description_or_protocol_error(text: bytes | str) -> None:
    try:
        plan_media(parse_sdp(text), audio=True)
    except ProtocolError:
        pass
