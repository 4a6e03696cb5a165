"""What a driver may trust at the other end of TLS, and what is said when it cannot.

Law: a connection is checked against certificate authorities and the host's name, or against one pinned fingerprint;
there is no unchecked way, and nothing is sent before the check passed. Called by whoever implements `Host.dial`;
drivers only fill in a TlsCheck.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache

from recorderd.core.errors import UsageError
from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported

RETRY_US = 60_000_000  # a certificate does not change every second
_EXPIRED, _SELF_SIGNED, _NAME, _ADDRESS = 10, 18, 62, 64  # X509_V_ERR_*: OpenSSL's verification results
_DIGEST = re.compile(r"sha256:((?:[0-9a-f]{2}:?){32})", re.I)

_NO_HANDSHAKE = (ssl.SSLError, ConnectionResetError)  # a reset comes after the connection was there

Opened = tuple[asyncio.Transport, asyncio.BaseProtocol]
Open = Callable[[ssl.SSLContext, str], Awaitable[Opened]]


@dataclass(frozen=True, slots=True)
class TlsCheck:
    """`fingerprint`: "sha256:" and 64 hex digits of the certificate (DER), in place of every other check; `ca_file`:
    PEM file of authorities in place of the system's."""

    fingerprint: str = ""
    ca_file: str = ""


def read_fingerprint(text: str) -> str:
    """The one way to write it, from any of the usual ones; "" stays "". Raises UsageError."""
    if not text:
        return ""
    found = _DIGEST.fullmatch(text.strip())
    if found is None:
        raise UsageError("must be sha256: and 64 hexadecimal digits")
    return "sha256:" + found[1].replace(":", "").lower()


def fingerprint(certificate: bytes) -> str:
    """Of a certificate in DER."""
    return "sha256:" + hashlib.sha256(certificate).hexdigest()


async def open_checked(host: str, check: TlsCheck, dial: Open) -> Opened:
    """Open through `dial(context, server name)` and check who answered. Raises DeviceUnavailable with reason
    'tls-changed', 'tls-untrusted', 'tls-name', 'tls-expired' or 'tls-handshake', DeviceUnsupported 'tls-ca'; what
    `dial` raises for other reasons passes."""
    if check.fingerprint:
        return await _pinned(host, check, dial)
    try:
        context = await asyncio.get_running_loop().run_in_executor(None, _authorities, check.ca_file)
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        raise DeviceUnsupported(f"tls_ca {check.ca_file!r} cannot be read: {error}", "tls-ca") from error
    try:
        return await dial(context, host)
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(host, error, await _look(host, dial)) from error
    except _NO_HANDSHAKE as error:
        raise _no_handshake(host, error) from error


async def _pinned(host: str, check: TlsCheck, dial: Open) -> Opened:
    try:
        transport, protocol = await dial(_unchecked(), host)
    except _NO_HANDSHAKE as error:
        raise _no_handshake(host, error) from error
    seen = _certificate(transport)
    if seen == check.fingerprint:
        return transport, protocol
    transport.abort()
    raise DeviceUnavailable(
        f"{host} shows another certificate than the pinned one: this may be another device. It is {seen}; "
        f'if the camera got a new certificate, set tls_fingerprint = "{seen}"',
        "tls-changed", fingerprint=seen, pinned=check.fingerprint, retry_after_us=RETRY_US,
    )  # fmt: skip


async def _look(host: str, dial: Open) -> str:
    """The fingerprint of a certificate that was not believed; "" when it cannot be had. Nothing is sent."""
    try:
        transport, _ = await dial(_unchecked(), host)
    except (OSError, DeviceUnavailable):
        return ""
    transport.abort()
    return _certificate(transport)


def _certificate(transport: asyncio.Transport) -> str:
    found = transport.get_extra_info("ssl_object")
    certificate = found.getpeercert(binary_form=True) if found is not None else None
    return fingerprint(certificate) if certificate else ""


def _untrusted(host: str, error: ssl.SSLCertVerificationError, seen: str) -> DeviceUnavailable:
    code = error.verify_code
    reason = "tls-expired" if code == _EXPIRED else "tls-name" if code in (_NAME, _ADDRESS) else "tls-untrusted"
    accept = f'if it is your camera, set tls_fingerprint = "{seen}"' if seen else "its fingerprint could not be read"
    if reason == "tls-untrusted":
        accept += ", or tls_ca to the file of the authority that signed it"
    return DeviceUnavailable(
        f"the certificate of {host} is not accepted: {error.verify_message or error.reason}; {accept}",
        reason, fingerprint=seen, retry_after_us=RETRY_US,
    )  # fmt: skip


def _no_handshake(host: str, error: OSError) -> DeviceUnavailable:
    what = "it hangs up"
    if isinstance(error, ssl.SSLError):
        what = (error.reason or str(error)).replace("_", " ").lower()
    message = f"{host} does not speak TLS that can be used here ({what}): rtsps:// and the port may be wrong"
    return DeviceUnavailable(message, "tls-handshake", host=host)


@lru_cache(maxsize=16)
def _authorities(ca_file: str) -> ssl.SSLContext:
    """Reads the system's authorities or the file: milliseconds of blocking work, once."""
    return ssl.create_default_context(cafile=ca_file or None)


@lru_cache(maxsize=1)
def _unchecked() -> ssl.SSLContext:
    """For connections whose certificate is looked at right after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
