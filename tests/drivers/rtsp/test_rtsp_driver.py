"""The rtsp driver against scripted cameras: quirks that must not matter, failures that must have their name."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from rtsp_rig import RealClock, RigHost, RigSink, address, playing
from scripted_camera import AUDIO_SDP, IDR, PPS, SDP, SPS, Camera, picture, running

from drivers.rtsp.driver import RtspDriver
from drivers.rtsp.info import INFO, RtspSettings, Transport
from recorderd.core.errors import UsageError
from recorderd.core.secret import Secret
from recorderd.driverapi.base import Address, StreamRequest
from recorderd.driverapi.errors import DeviceAuthFailed, DeviceUnavailable, DeviceUnsupported, DriverError, StreamLost
from recorderd.driverkit import rtsp_handshake, rtsp_stream
from recorderd.driverkit.ingest import shared_ingest
from recorderd.media.access_unit import TimeQuality
from recorderd.media.nal import join_units
from recorderd.wire.rtsp_message import Headers, InterleavedFrame, RtspRequest, RtspResponse

LOGIN = ("admin", "p@ss:/%w")


def bend_headers(method: str, edit: dict[str, str | None], request: RtspRequest, answer: RtspResponse) -> RtspResponse:
    """Replace or (None) remove headers of answers to `method`."""
    if request.method == method:
        kept = [(name, value) for name, value in answer.headers if name not in edit]
        answer.headers = Headers(kept + [(name, value) for name, value in edit.items() if value is not None])
    return answer


def raw(method: str, edit: tuple[bytes, bytes], request: RtspRequest, answer: RtspResponse) -> bytes:
    data = answer.encode()
    return data.replace(*edit) if request.method == method else data


def without_cseq(answer: RtspResponse) -> RtspResponse:
    return bend_headers("", {"CSeq": None}, RtspRequest("", ""), answer)


QUIRKS = {
    "1 no Content-Type": Camera(content_type=False),
    "1 trailing blanks": Camera(bend=partial(raw, "SETUP", (b"timeout=60", b"timeout=60 \t"))),
    "1 bare LF": Camera(bend=partial(raw, "OPTIONS", (b"\r\n", b"\n"))),
    "1 CRLF before dollar": Camera(wrap=lambda packet: b"\r\n" + InterleavedFrame(0, packet).encode()),
    "1 header in odd case": Camera(bend=partial(raw, "DESCRIBE", (b"Content-", b"cONTENT-"))),
    "2 no Content-Base": Camera(content_base=None),
    "2 schemeless Content-Base": Camera(content_base="10.0.0.1:554/x/"),
    "2 doubled scheme": Camera(content_base="rtsp://rtsp://10.0.0.1/x/"),
    "2 IPv6-mapped host without brackets": Camera(content_base="rtsp://::ffff:10.0.0.1:554/x/"),
    "2 no trailing slash": Camera(content_base="{url}"),
    "2 absolute control": Camera(sdp=SDP.replace("a=control:track1", "a=control:rtsp://10.9.9.9/x/track1")),
    "3 no o=, odd lines": Camera(sdp=SDP.replace("o=- 1 1 IN IP4 0.0.0.0\r\n", "").replace("t=0 0", "t=x") + "c=\r\n"),
    "5 video marked sendonly": Camera(sdp=SDP + "a=sendonly\r\n"),
    "5 backchannel": Camera(sdp=SDP + AUDIO_SDP + "a=sendonly\r\n"),
    "6 no timeout": Camera(session="abc"),
    "6 blank session parameters": Camera(session=" abc ; timeout = 30 "),
    "7 RTP before the PLAY answer": Camera(before_play=b"".join(map(Camera().wrap, picture(-1)))),
    "7 data on unassigned channels": Camera(before_play=InterleavedFrame(9, b"stale").encode()),
    "8 RTP-Info with trailing semicolon": Camera(play_headers=[("RTP-Info", "url=x;seq=0;rtptime=0;")]),
    "8 RTP-Info of garbage": Camera(play_headers=[("RTP-Info", ";;,=,url;rtptime=zzz"), ("Range", "clock=nonsense")]),
    "11 basic only": Camera(login=LOGIN, challenges=['Basic realm="x"']),
    "11 digest without qop": Camera(login=LOGIN),
    "11 digest with qop": Camera(login=LOGIN, challenges=['Digest realm="", qop="auth", nonce="{nonce}"']),
    "11 SHA-256 first": Camera(
        login=LOGIN,
        challenges=['Digest realm="s", nonce="{nonce}", algorithm=SHA-256', 'Digest realm="m", nonce="{nonce}"'],
    ),
    "11 nonce per request, stale": Camera(
        login=LOGIN, nonce_per_request=True, challenges=['Digest realm="r", nonce="{nonce}", stale=true']
    ),
    "12 no OPTIONS": Camera(
        bend=lambda request, answer: RtspResponse(501, "No", answer.headers) if request.method == "OPTIONS" else answer
    ),
    "12 no CSeq in answers": Camera(bend=lambda request, answer: without_cseq(answer)),
}  # fmt: skip


@pytest.mark.parametrize("name", QUIRKS)
async def test_quirk(name: str) -> None:
    sink = RigSink()
    async with running(QUIRKS[name]) as camera:
        login = LOGIN if camera.login else None
        async with playing(address(camera.port, login=login), sink) as (_, stream):
            await sink.until_video(3)
            assert stream.stats()["damaged_units"] == 0
    assert [unit.data for unit in sink.video[-3:]] == [join_units([SPS, PPS, IDR])] * 3
    assert camera.methods()[-1] == "TEARDOWN"
    assert camera.methods().count("SETUP") in (1, 2)


async def test_quirk_7_other_channels_than_asked() -> None:
    camera = Camera(
        transport="RTP/AVP/TCP;unicast;interleaved=4-5", wrap=lambda packet: InterleavedFrame(4, packet).encode()
    )
    sink = RigSink()
    async with running(camera), playing(address(camera.port), sink):
        await sink.until_video(3)


async def test_quirk_6_first_session_id_is_kept() -> None:
    ids = iter(("first", "second"))
    camera = Camera(
        sdp=SDP + AUDIO_SDP,
        bend=lambda request, answer: (
            bend_headers("SETUP", {"Session": next(ids)}, request, answer) if request.method == "SETUP" else answer
        ),
    )
    sink = RigSink()
    async with running(camera), playing(address(camera.port), sink):
        await sink.until_video(1)
    sent = {request.method: request.headers.get("Session") for request in camera.requests}
    assert sent["PLAY"] == sent["TEARDOWN"] == "first"


async def test_play_range_gives_utc_at_once() -> None:
    headers = [("Range", "clock=20260301T120000.5Z-"), ("RTP-Info", "url=track1;seq=0;rtptime=3600")]
    sink = RigSink()
    async with running(Camera(play_headers=headers)) as camera, playing(address(camera.port), sink):
        await sink.until_video(2)
    assert sink.video[1].cam_us == 1_772_366_400_500_000
    assert sink.video[1].cam_quality is TimeQuality.PLAY_RANGE


async def test_sub_stream_keeps_its_query() -> None:
    sink = RigSink()
    request = StreamRequest(role="sub", path="/cam/2?stream=sub")
    async with running(Camera()) as camera, playing(address(camera.port, "/"), sink, request=request):
        await sink.until_video(1)
    assert [one.url for one in camera.requests if one.method == "DESCRIBE"] == [
        f"rtsp://127.0.0.1:{camera.port}/cam/2?stream=sub"
    ]
    assert camera.connections == 1, "the greeting's connection carries the first stream"


def status(method: str, code: int, headers: list[tuple[str, str]] | None = None) -> Camera:
    def bend(request: RtspRequest, answer: RtspResponse) -> RtspResponse:
        if request.method == method:
            return RtspResponse(code, "", Headers([*answer.headers, *(headers or [])]))
        return answer

    return Camera(bend=bend)


FAILURES = {
    "404": (status("DESCRIBE", 404), DeviceUnavailable, "not-found"),
    "453": (status("SETUP", 453), DeviceUnavailable, "busy"),
    "503": (status("PLAY", 503), DeviceUnavailable, "busy"),
    "461": (status("SETUP", 461), DeviceUnsupported, "transport"),
    "answers UDP": (Camera(transport="RTP/AVP;unicast;client_port=1-2"), DeviceUnsupported, "transport"),
    "foreign redirect": (
        status("DESCRIBE", 302, [("Location", "rtsp://10.1.2.3/x")]), DeviceUnavailable, "protocol"
    ),
    "redirect in circles": (
        status("DESCRIBE", 302, [("Location", "rtsp://127.0.0.1:{port}/x")]), DeviceUnsupported, "redirect"
    ),
    "no description": (Camera(sdp="<html>"), DeviceUnavailable, "protocol"),
    "no known codec": (Camera(sdp=SDP.replace("H264", "VP9")), DeviceUnsupported, "codec"),
    "login wanted, none set": (Camera(login=LOGIN), DeviceAuthFailed, "auth-failed"),
    "garbage": (Camera(bend=lambda request, answer: b"\x00\x01\x02"), StreamLost, "protocol"),
    "no RTSP": (Camera(bend=lambda request, answer: b"SSH-2.0-x\r\n"), StreamLost, "protocol"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_has_its_name(name: str) -> None:
    camera, error, reason = FAILURES[name]
    async with running(camera):
        if "circles" in name:
            location = f"rtsp://127.0.0.1:{camera.port}/x"
            camera.bend = status("DESCRIBE", 302, [("Location", location)]).bend
        with pytest.raises(error) as failed:
            async with playing(address(camera.port), RigSink()):
                pass
        assert failed.value.reason == reason
        assert camera.connections <= 4


async def test_redirect_within_the_host_is_followed() -> None:
    sink = RigSink()
    async with running(Camera()) as there:
        location = [("Location", f"rtsp://127.0.0.1:{there.port}/new")]
        async with running(status("DESCRIBE", 301, location)) as here, playing(address(here.port), sink):
            await sink.until_video(1)
        assert there.requests[-1].method == "TEARDOWN"


@pytest.mark.parametrize("hops", [1, 2])
async def test_credentials_never_reach_another_port(hops: int) -> None:
    """Behind address translation another port is another device, also when it redirects again."""
    there = Camera(login=LOGIN, challenges=['Basic realm="x"'])
    if hops == 2:
        plain = Camera().bend

        def once_more(request: RtspRequest, answer: RtspResponse) -> RtspResponse:
            if request.url.endswith("/new"):
                where = [("Location", f"rtsp://127.0.0.1:{there.port}/newer")]
                return RtspResponse(302, "", Headers([*answer.headers, *where]))
            return plain(request, answer)

        there.bend = once_more
    async with running(there):
        location = [("Location", f"rtsp://127.0.0.1:{there.port}/new")]
        async with running(status("OPTIONS", 302, location)) as here:
            with pytest.raises(DeviceUnavailable, match="give that address") as failed:
                async with playing(address(here.port, login=LOGIN), RigSink()):
                    pass
    assert failed.value.reason == "redirect"
    assert there.requests
    assert [one for one in there.requests if "Authorization" in one.headers] == []


async def test_redirect_to_another_path_keeps_the_login() -> None:
    camera, sink = Camera(login=LOGIN), RigSink()

    def bend(request: RtspRequest, answer: RtspResponse) -> RtspResponse:
        if request.method == "DESCRIBE" and request.url.endswith("/cam"):
            where = [("Location", f"rtsp://127.0.0.1:{camera.port}/new")]
            return RtspResponse(302, "", Headers([*answer.headers, *where]))
        return answer

    camera.bend = bend
    async with running(camera), playing(address(camera.port, login=LOGIN), sink):
        await sink.until_video(1)


async def test_a_login_refused_before_is_sent_once() -> None:
    async with running(Camera(login=LOGIN, challenges=['Basic realm="x"'])) as camera:
        camera.challenges = ['Digest realm="cam", nonce="{nonce}"']
        again = Address(f"rtsp://127.0.0.1:{camera.port}/", "admin", Secret("wrong"), refused=True)
        with pytest.raises(DeviceAuthFailed):
            async with RtspDriver().connect(again, RtspSettings(), RigHost()) as session:
                await session.start(StreamRequest(), RigSink())
    assert camera.refused_with_credentials == 1


async def test_wrong_password_is_two_refusals_and_no_storm() -> None:
    async with running(Camera(login=LOGIN)) as camera:
        camera.bend = lambda request, answer: answer if request.method != "OPTIONS" else RtspResponse(
            200, "OK", Headers([("CSeq", request.headers.get("CSeq"))])
        )  # fmt: skip
        refused = 0
        wrong = Address(f"rtsp://127.0.0.1:{camera.port}/", "admin", Secret("wrong"))
        async with RtspDriver().connect(wrong, RtspSettings(), RigHost()) as session:
            camera.refused_with_credentials = 0
            for role in ("main", "sub", "main"):
                with pytest.raises(DeviceAuthFailed) as failed:
                    await session.start(StreamRequest(role=role, path="/x"), RigSink())
                assert "wrong" not in str(failed.value)
                refused += 1
        assert refused == 3
        assert camera.refused_with_credentials == 2


async def test_closed_by_the_camera() -> None:
    sink = RigSink()
    async with running(Camera(after_media="close")) as camera, playing(address(camera.port), sink) as (_, stream):
        with pytest.raises(StreamLost) as lost:
            await stream.wait()
    assert lost.value.reason == "closed"
    assert len(sink.video) == 3


async def test_unreachable_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Camera()) as camera:
        port = camera.port
    with pytest.raises(DeviceUnavailable) as refused:
        async with playing(address(port), RigSink()):
            pass
    assert refused.value.reason == "refused"
    monkeypatch.setattr(rtsp_handshake, "REQUEST_S", 0.05)
    async with running(Camera(bend=lambda request, answer: None)) as camera:
        with pytest.raises(DeviceUnavailable) as silent:
            async with playing(address(camera.port), RigSink()):
                pass
    assert silent.value.reason == "timeout"


async def test_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    monkeypatch.setattr(rtsp_stream, "STALL_MIN_US", 50_000)
    sink = RigSink()
    async with running(Camera()) as camera, playing(address(camera.port), sink) as (_, stream):
        with pytest.raises(StreamLost) as lost:
            await stream.wait()
    assert lost.value.reason == "stall"


class ThawingHost(RigHost):
    """Its clock can leap, as it does for a process that was stopped; counts the ticks of upkeep."""

    class Clock(RealClock):
        ahead_us = 0

        def monotonic_us(self) -> int:
            return super().monotonic_us() + self.ahead_us

    def __init__(self) -> None:
        super().__init__()
        self.clock = self.Clock()
        self.ticks = 0

    def coalesce_us(self) -> int:
        self.ticks += 1
        return 0


async def test_a_process_that_stood_still_reads_before_it_calls_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    host, sink = ThawingHost(), RigSink()
    async with running(Camera()) as camera, playing(address(camera.port), sink, host) as (_, stream):
        await sink.until_video(3)
        async with asyncio.timeout(30):
            while not host.ticks:  # noqa: ASYNC110 - ticks tell nobody
                await asyncio.sleep(0.001)
            host.clock.ahead_us = 30_000_000
            wanted = host.ticks + 5
            while host.ticks < wanted and stream.running:  # noqa: ASYNC110 - ticks tell nobody
                await asyncio.sleep(0.001)
        assert stream.running, "30 s in which nothing ran are not the camera's silence"


@pytest.mark.parametrize(("sdp", "audio", "kinds"), [
    (SDP, True, ["video"]), (SDP + AUDIO_SDP, True, ["video", "audio"]), (SDP + AUDIO_SDP, False, ["video"]),
])  # fmt: skip
async def test_tracks_are_announced(sdp: str, audio: bool, kinds: list[str]) -> None:
    sink = RigSink()
    request = StreamRequest(audio=audio)
    async with running(Camera(sdp=sdp)) as camera, playing(address(camera.port), sink, request=request):
        assert [params for code, params in sink.events if code == "tracks"] == [{"kinds": kinds}]


async def test_keep_alive_and_receiver_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    monkeypatch.setattr(rtsp_stream, "REPORT_US", 10_000)
    sink, alive = RigSink(), asyncio.Event()

    def bend(request: RtspRequest, answer: RtspResponse) -> RtspResponse:
        if request.method == "OPTIONS" and "Session" in request.headers and camera.received:
            alive.set()
        return answer

    camera = Camera(session="1;timeout=1", bend=bend, login=LOGIN)
    async with running(camera), playing(address(camera.port, login=LOGIN), sink):
        async with asyncio.timeout(30):
            await alive.wait()
    report = camera.received[0]
    assert report.channel == 1
    assert report.data[1] == 201


@pytest.mark.parametrize("viewers", [False, True])
async def test_gathered_reads_lose_nothing(viewers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_stream, "UPKEEP_S", 0.01)
    sink = RigSink()
    sink.viewers = viewers
    many = Camera(pictures=0)
    async with running(many):
        host = RigHost(coalesce_us=5_000)
        async with playing(address(many.port), sink, host) as (_, stream):
            while shared_ingest().gathered != (0 if viewers else 1):  # noqa: ASYNC110 - the driver tells nobody
                await asyncio.sleep(0.001)
            many.pictures = 400
            many.after_media = "close"
            play = next(request for request in many.requests if request.method == "PLAY")
            connection = stream._connection
            connection._transport.write(play.encode())  # a second PLAY makes the script send pictures
            with pytest.raises(StreamLost) as lost:
                await stream.wait()
            assert lost.value.reason == "closed"
            assert shared_ingest().gathered == 0
    assert len(sink.video) == 400
    assert stream.stats()["lost_packets"] == 0


async def test_probe() -> None:
    async with running(Camera(sdp=SDP + AUDIO_SDP)) as camera:
        found = await RtspDriver().probe(address(camera.port, "/a?b=c"), RtspSettings(), RigHost())
    assert [device.kind for device in found.devices] == ["camera", "microphone"]
    assert found.devices[0].streams[0].path == "/a?b=c"
    assert "PLAY" not in camera.methods()


@pytest.mark.parametrize("url", ["http://h/", "rtsp://", "rtsp://u:p@h/", "rtsp://h:port/"])
async def test_addresses_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(DriverError) as failed:
        async with RtspDriver().connect(Address(url), RtspSettings(), RigHost()):
            pass
    assert failed.value.reason == "address"


FINGERPRINT = "sha256:" + "ab" * 32

WRONG_SETTINGS = {
    "tls_fingerprint": {"tls_fingerprint": "ab:cd"},
    "tls_ca": {"tls_fingerprint": FINGERPRINT, "tls_ca": "/etc/ca.pem"},
    "multicast_interface": {"multicast_interface": "eth0"},
}


@pytest.mark.parametrize("key", WRONG_SETTINGS)
def test_settings_name_the_key_that_is_wrong(key: str) -> None:
    assert INFO.settings().transport is Transport.TCP
    with pytest.raises(UsageError) as refused:
        INFO.settings(**WRONG_SETTINGS[key])
    assert refused.value.params == {"key": key}


def test_fingerprints_are_read_as_people_write_them() -> None:
    assert RtspSettings(tls_fingerprint=" SHA256:" + ":".join(["AB"] * 32)).tls_fingerprint == FINGERPRINT


MISFITS = {
    "tls keys without rtsps": ("rtsp", RtspSettings(tls_fingerprint=FINGERPRINT), "address"),
    "open media beside rtsps": ("rtsps", RtspSettings(transport=Transport.UDP), "transport"),
    "open groups beside rtsps": ("rtsps", RtspSettings(transport=Transport.MULTICAST), "transport"),
}


@pytest.mark.parametrize("name", MISFITS)
async def test_settings_that_do_not_fit_the_address(name: str) -> None:
    scheme, settings, reason = MISFITS[name]
    host = RigHost()
    with pytest.raises(DeviceUnsupported) as refused:
        async with RtspDriver().connect(address(1, scheme=scheme), settings, host):
            pass
    assert refused.value.reason == reason
    assert host.dialled == []
