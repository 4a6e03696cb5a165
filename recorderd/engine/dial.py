"""Outgoing connections of drivers, pinned to the host the user gave.

Law: the only way a driver reaches the network. A redirect, a hostile SDP or a bug cannot lead it, or the
credentials it carries, to another host: the name the user wrote and the addresses it resolves to are allowed,
nothing else. Knows no protocol.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported
from recorderd.driverapi.tls import TlsCheck, open_checked
from recorderd.driverapi.udp import UdpPair, UdpRequest, open_pair

CONNECT_S = 10.0
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "closed",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTDOWN: "unreachable",
}

Factory = Callable[[], asyncio.BaseProtocol]
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of `host` by the system's resolver, in its order of preference, without repeats."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PinnedDialer:
    """Dials the host of one hardware's address. Raises DeviceUnavailable with reason 'refused', 'timeout',
    'unreachable', 'dns' ..., and DeviceUnsupported 'foreign-host' for any other host."""

    def __init__(self, url: str, resolver: Resolve = resolve) -> None:
        self._host = (urlsplit(url).hostname or "").lower()
        self._resolve = resolver
        self._known: set[str] = set()

    async def __call__(
        self, host: str, port: int, factory: Factory, tls: TlsCheck | None = None
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        addresses = await self._addresses(port)
        wanted = host.strip("[]").lower()
        if wanted != self._host:
            self._refuse_foreign(wanted)
            addresses = [wanted]
        failure: OSError | TimeoutError = OSError(f"{self._host} has no address")
        for address in addresses:
            try:
                return await self._open(address, port, factory, tls)
            except OSError as error:  # TimeoutError is one
                failure = error
        raise _unavailable(self._host, port, failure)

    def open_udp(self, request: UdpRequest) -> UdpPair:
        """Sockets for datagrams of the configured host, in one of its addresses as last resolved."""
        self._refuse_foreign(request.host)
        return open_pair(request)

    async def _open(
        self, address: str, port: int, factory: Factory, tls: TlsCheck | None
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        loop = asyncio.get_running_loop()

        async def encrypted(context: ssl.SSLContext, name: str) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
            async with asyncio.timeout(CONNECT_S):
                return await loop.create_connection(factory, address, port, ssl=context, server_hostname=name)

        if tls is not None:
            return await open_checked(self._host, tls, encrypted)
        async with asyncio.timeout(CONNECT_S):
            return await loop.create_connection(factory, address, port)

    def _refuse_foreign(self, wanted: str) -> None:
        if wanted not in self._known:
            message = f"the device points to {wanted}, but only {self._host} was configured: check the address"
            raise DeviceUnsupported(message, "foreign-host", host=wanted)

    async def _addresses(self, port: int) -> list[str]:
        """Resolved anew at each attempt: a camera may come back under another address."""
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._resolve(self._host, port)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise DeviceUnavailable(f"{self._host} could not be resolved in time", "dns") from error
            message = f"{self._host} cannot be resolved: check the name ({error.strerror or error})"
            raise DeviceUnavailable(message, "dns", host=self._host) from error
        self._known = set(addresses)
        return addresses


def _unavailable(host: str, port: int, error: OSError) -> DeviceUnavailable:
    reason = "timeout" if isinstance(error, TimeoutError) else _REASONS.get(error.errno or 0, "unreachable")
    text = error.strerror or str(error) or "no answer"
    return DeviceUnavailable(f"{host}:{port} cannot be reached: {text}", reason, host=host, port=port)
