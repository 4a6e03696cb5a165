"""A pair of UDP sockets for RTP and RTCP, as `Host.open_udp` gives them to a driver.

Law: opens, joins and closes; reads and sends nothing, knows no protocol. The reader checks each datagram's sender
against `UdpPair.senders`: a bound port takes what anybody sends. Called by implementations of Host.
"""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported

RECEIVE_BYTES = 2 * 1024 * 1024
_TRIES = 64
# Linux's numbers, which Python does not name: <asm-generic/socket.h>, <linux/in.h>, <linux/sockios.h>.
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_WORDS, _MEMINFO_DROPS = 9, 8
_MCAST_JOIN_GROUP, _MCAST_JOIN_SOURCE_GROUP = 42, 46
_SIOCGIFCONF = 0x8912
_IFREQ_BYTES = 40 if struct.calcsize("P") == 8 else 32
_MAX_INTERFACES = 256


@dataclass(frozen=True, slots=True)
class UdpRequest:
    """`host`: an address of the configured device, whose datagrams are wanted. `group`: multicast group to join, with
    its two `ports`; else unicast, on a free pair of ports, even and odd. `source`: only this sender's datagrams to the
    group (source-specific). `interface`: name or own address of the interface to join on; without it the one that has
    the own address `near`, if it can be found."""

    host: str
    group: str = ""
    ports: tuple[int, int] = (0, 0)
    source: str = ""
    interface: str = ""
    near: str = ""
    ttl: int = 16


class UdpPair:
    """Two bound, non-blocking sockets. `senders`: the addresses whose datagrams count; `receive_bytes`: what the
    kernel really keeps for us."""

    def __init__(self, media: socket.socket, control: socket.socket, request: UdpRequest) -> None:
        self.media = media
        self.control = control
        self.senders = frozenset(filter(None, (request.host, _plain(request.host), request.source)))
        self.receive_bytes = media.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    @property
    def ports(self) -> tuple[int, int]:
        """The receiver's ports."""
        return self.media.getsockname()[1], self.control.getsockname()[1]

    def overflowed(self) -> int:
        """Datagrams the kernel dropped since the pair was opened, because nobody read in time."""
        words = self.media.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        return int(array.array("I", words)[_MEMINFO_DROPS])

    @property
    def closed(self) -> bool:
        return self.media.fileno() < 0

    def close(self) -> None:
        """Leaves the group, too; idempotent."""
        self.media.close()
        self.control.close()


def open_pair(request: UdpRequest) -> UdpPair:
    """Raises DeviceUnsupported 'multicast' for what is no group or no interface, DeviceUnavailable 'no-ports'."""
    version = ipaddress.ip_address(_plain(request.host)).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    if not request.group:
        return _unicast(family, request)
    try:
        group = ipaddress.ip_address(request.group)
    except ValueError:
        group = None
    if group is None or not group.is_multicast or group.version != version or not all(request.ports):
        where = f"{request.group}:{request.ports[0]}"
        raise DeviceUnsupported(f"the camera names {where} as its multicast group, which is none", "multicast")
    return _multicast(family, request)


def _unicast(family: int, request: UdpRequest) -> UdpPair:
    """An even port and the next one (RFC 3550 §11)."""
    last: OSError | None = None
    for _ in range(_TRIES):
        first, second = _socket(family), _socket(family)
        try:
            first.bind(("", 0))
            port = first.getsockname()[1]
            second.bind(("", port ^ 1))
            return UdpPair(*((first, second) if port % 2 == 0 else (second, first)), request)
        except OSError as error:
            first.close()
            second.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            last = error
    raise DeviceUnavailable("no free pair of UDP ports on this machine", "no-ports") from last


def _multicast(family: int, request: UdpRequest) -> UdpPair:
    """Bound to the group, so that nothing sent to other groups on this port comes in."""
    index = interface_index(request.interface) if request.interface else _index_of(request.near)
    media, control = _socket(family), _socket(family)
    try:
        for one, port in zip((media, control), request.ports, strict=True):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others here may receive this group as well
            one.bind((request.group, port))
            _join(one, family, request, index)
        return UdpPair(media, control, request)
    except OSError as error:
        media.close()
        control.close()
        where = f"on interface {request.interface}" if request.interface else "on any interface"
        message = f"the multicast group {request.group} cannot be joined {where} ({error.strerror or error}): "
        raise DeviceUnavailable(message + "set multicast_interface", "multicast", group=request.group) from error


def _join(one: socket.socket, family: int, request: UdpRequest, index: int) -> None:
    level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
    head = struct.pack("@I0L", index)
    if request.source:
        one.setsockopt(
            level, _MCAST_JOIN_SOURCE_GROUP, head + _sockaddr(family, request.group) + _sockaddr(family, request.source)
        )
    else:
        one.setsockopt(level, _MCAST_JOIN_GROUP, head + _sockaddr(family, request.group))
    # For the reports sent to the group; our own must not come back to us.
    if family == socket.AF_INET:
        one.setsockopt(level, socket.IP_MULTICAST_TTL, request.ttl)
        one.setsockopt(level, socket.IP_MULTICAST_LOOP, 0)
        one.setsockopt(level, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
    else:
        one.setsockopt(level, socket.IPV6_MULTICAST_HOPS, request.ttl)
        one.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 0)
        one.setsockopt(level, socket.IPV6_MULTICAST_IF, index)


def _sockaddr(family: int, address: str) -> bytes:
    """struct sockaddr_storage."""
    packed = socket.inet_pton(family, address)
    body = struct.pack("@H2x", family) + (packed if family == socket.AF_INET else bytes(4) + packed)
    return body.ljust(128, b"\0")


def _socket(family: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.setblocking(False)
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BYTES)  # beyond net.core.rmem_max, as root
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return one


def interface_index(text: str) -> int:
    """The kernel's number of an interface by name or by one of its IPv4 addresses. Raises DeviceUnsupported."""
    try:
        return socket.if_nametoindex(text)
    except OSError:
        index = _index_of(text)
    if not index:
        known = ", ".join(f"{name} ({address})" for name, address in _addresses())
        message = f"multicast_interface {text!r} is no interface here (there are {known})"
        raise DeviceUnsupported(message, "multicast")
    return index


def _index_of(own_address: str) -> int:
    """0, which leaves the choice to the kernel, when no interface has it."""
    names = (name for name, address in _addresses() if address == own_address)
    return next((socket.if_nametoindex(name) for name in names), 0)


def _addresses() -> Iterator[tuple[str, str]]:
    """(interface, IPv4 address) of this machine: SIOCGIFCONF of netdevice(7)."""
    room = array.array("B", bytes(_MAX_INTERFACES * _IFREQ_BYTES))
    where, size = room.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        answer = fcntl.ioctl(one, _SIOCGIFCONF, struct.pack("@iP", size, where))
    (used,) = struct.unpack_from("@i", answer)
    data = room.tobytes()[:used]
    for at in range(0, used, _IFREQ_BYTES):
        name = data[at : at + 16].split(b"\0", 1)[0].decode("ascii", "replace").split(":")[0]
        yield name, socket.inet_ntoa(data[at + 20 : at + 24])


def _plain(address: str) -> str:
    """Without a scope or the IPv6 form of an IPv4 address."""
    return address.split("%", 1)[0].removeprefix("::ffff:")
