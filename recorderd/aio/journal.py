"""Log lines as journal entries with fields of their own (systemd's native journal protocol).

Law: knows no domain word and no log library: a mapping goes in, a datagram goes out. Never blocks and never raises: a
journal that does not take an entry is told by the return value, and the caller writes the line elsewhere. Used by the
daemon's logging when standard error is the journal (`JOURNAL_STREAM`, systemd.exec(5)).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
_UNFIT = re.compile(r"[^A-Z0-9_]")
_MAX_NAME = 64
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def is_journal(stream_fd: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to `stream_fd` goes to the journal: JOURNAL_STREAM names its device and inode."""
    device, colon, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    if not colon or not device.isdigit() or not inode.isdigit():
        return False
    try:
        found = os.fstat(stream_fd)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (int(device), int(inode))


def field_name(name: str) -> str:
    """A legal field name: capitals, digits, underscore; begins with a letter, at most 64 characters."""
    fit = _UNFIT.sub("_", name.upper()).lstrip("_0123456789")
    return fit[:_MAX_NAME] or "FIELD"


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """One entry: `NAME=value` lines; a value with a line break is written with its length in front."""
    out = bytearray()
    for name, value in fields.items():
        data = value.encode("utf-8", "surrogateescape")
        out += field_name(name).encode()
        if b"\n" in data:
            out += b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            out += b"=" + data + b"\n"
    return bytes(out)


class Journal:
    """A connection to the journal; made once."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.dropped = 0

    def send(self, fields: Mapping[str, str]) -> bool:
        """False when the journal did not take the entry (it is away, or cannot keep up)."""
        entry = encode_entry(fields)
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno in (errno.EMSGSIZE, errno.ENOBUFS) and self._send_file(entry):
                return True
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        self._socket.close()

    def _send_file(self, entry: bytes) -> bool:
        """An entry larger than a datagram travels as a sealed memory file."""
        try:
            fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.write(fd, entry)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                self._socket.sendmsg([b""], rights, 0, self._path)
            finally:
                os.close(fd)
        except OSError:
            return False
        return True
