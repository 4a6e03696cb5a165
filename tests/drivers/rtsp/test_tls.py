"""Cameras behind TLS: who is believed, who is not, and how to accept a certificate; nothing is said before."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from rtsp_rig import RigHost, RigSink, address, playing
from scripted_camera import Camera, running

from drivers.rtsp.info import RtspSettings, Transport
from recorderd.core.errors import UsageError
from recorderd.driverapi import tls
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported, DriverError
from recorderd.driverapi.tls import TlsCheck, fingerprint

LOGIN = ("admin", "secret")
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def camera_side(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def print_of(certificate: trustme.LeafCert) -> str:
    return fingerprint(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))


def ca_file(authority: trustme.CA, folder: Path) -> str:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return str(folder / "ca.pem")


async def receive(camera: Camera, settings: RtspSettings, host: RigHost | None = None) -> RigSink:
    sink = RigSink()
    where = address(camera.port, scheme="rtsps", login=LOGIN)
    async with playing(where, sink, host, settings=settings) as (_, stream):
        await sink.until_video(3)
        assert stream.stats()["bytes"] > 0
    return sink


async def test_an_authority_of_ones_own_is_believed(authority: trustme.CA, tmp_path: Path) -> None:
    context = camera_side(authority.issue_cert("127.0.0.1"))
    async with running(Camera(login=LOGIN), context) as camera:
        await receive(camera, RtspSettings(tls_ca=ca_file(authority, tmp_path)))
    assert camera.requests[0].url.startswith("rtsps://127.0.0.1:")


async def test_a_pinned_certificate_is_believed_whatever_else_is_wrong(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("other.example", not_after=LONG_AGO)
    async with running(Camera(login=LOGIN), camera_side(certificate)) as camera:
        # Gathered reads would read past TLS: they are off for this connection.
        await receive(camera, RtspSettings(tls_fingerprint=print_of(certificate)), RigHost(20_000))


async def test_auto_over_tls_is_tcp(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    async with running(Camera(login=LOGIN), camera_side(certificate)) as camera:
        await receive(camera, RtspSettings(transport=Transport.AUTO, tls_fingerprint=print_of(certificate)))


Make = Callable[[trustme.CA], trustme.LeafCert]
NOT_BELIEVED: dict[str, tuple[Make, bool, str]] = {
    "unknown authority": (lambda ca: ca.issue_cert("127.0.0.1"), False, "tls-untrusted"),
    "another name": (lambda ca: ca.issue_cert("camera.example"), True, "tls-name"),
    "another address": (lambda ca: ca.issue_cert("127.0.0.2"), True, "tls-name"),
    "expired": (lambda ca: ca.issue_cert("127.0.0.1", not_after=LONG_AGO), True, "tls-expired"),
}


@pytest.mark.parametrize("name", NOT_BELIEVED)
async def test_what_is_not_believed_and_how_to_accept_it(name: str, authority: trustme.CA, tmp_path: Path) -> None:
    make, known, reason = NOT_BELIEVED[name]
    certificate = make(authority)
    settings = RtspSettings(tls_ca=ca_file(authority, tmp_path)) if known else RtspSettings()
    async with running(Camera(login=LOGIN), camera_side(certificate)) as camera:
        with pytest.raises(DeviceUnavailable) as refused:
            await receive(camera, settings)
    assert refused.value.reason == reason
    assert f'tls_fingerprint = "{print_of(certificate)}"' in str(refused.value)
    assert camera.requests == [], "nothing was said to somebody who is not believed"


async def test_a_changed_certificate_is_told_with_the_new_fingerprint(authority: trustme.CA) -> None:
    pinned, shown = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    async with running(Camera(login=LOGIN), camera_side(shown)) as camera:
        with pytest.raises(DeviceUnavailable) as refused:
            await receive(camera, RtspSettings(tls_fingerprint=print_of(pinned)))
    assert refused.value.reason == "tls-changed"
    assert refused.value.params["fingerprint"] == print_of(shown)
    assert f'tls_fingerprint = "{print_of(shown)}"' in str(refused.value)
    assert camera.requests == []


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_camera_that_speaks_no_tls(pinned: bool) -> None:
    settings = RtspSettings(tls_fingerprint="sha256:" + "00" * 32) if pinned else RtspSettings()
    async with running(Camera(bend=lambda request, answer: b"")) as camera:
        with pytest.raises(DriverError) as refused:
            await receive(camera, settings)
    assert refused.value.reason == "tls-handshake"


async def test_a_file_of_authorities_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    for name in ("missing.pem", "empty.pem"):
        async with running(Camera()) as camera:
            with pytest.raises(DeviceUnsupported, match="tls_ca") as refused:
                await receive(camera, RtspSettings(tls_ca=str(tmp_path / name)))
        assert refused.value.reason == "tls-ca"


async def test_a_redirect_never_leads_out_of_tls(authority: trustme.CA) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    async with running(Camera(login=LOGIN)) as plain:

        def bend(request: object, answer: object) -> bytes:
            return f"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:{plain.port}/x\r\n\r\n".encode()

        async with running(Camera(bend=bend), camera_side(certificate)) as camera:
            with pytest.raises(DeviceUnavailable, match="give that address") as refused:
                await receive(camera, RtspSettings(tls_fingerprint=print_of(certificate)))
    assert refused.value.reason == "protocol"
    assert plain.requests == []


def test_there_is_no_unchecked_way() -> None:
    assert not hasattr(TlsCheck(), "verify")
    assert tls._authorities("").verify_mode is ssl.CERT_REQUIRED
    assert tls._authorities("").check_hostname


@pytest.mark.parametrize(
    ("settings", "url", "key"),
    [
        (RtspSettings(tls_fingerprint="sha256:" + "ab" * 32), "rtsp://192.0.2.1/", "tls_fingerprint"),
        (RtspSettings(tls_ca="/etc/ca.pem"), "rtsp://192.0.2.1/", "tls_ca"),
        (RtspSettings(transport=Transport.UDP), "rtsps://192.0.2.1/", "transport"),
        (RtspSettings(transport=Transport.MULTICAST), "rtsps://192.0.2.1/", "transport"),
    ],
)
def test_keys_that_do_not_fit_the_address_are_refused_before_anything_is_dialled(
    settings: RtspSettings, url: str, key: str
) -> None:
    with pytest.raises(UsageError) as refused:
        settings.check_address(url)
    assert refused.value.params["key"] == key
    RtspSettings().check_address(url)
