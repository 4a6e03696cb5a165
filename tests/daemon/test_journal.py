"""Log lines as journal entries: fields for `journalctl CAMERA_ID=...`, and no line lost without a journal."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from recorderd.aio.journal import Journal, encode_entry, field_name, is_journal
from recorderd.core.secret import Secret
from recorderd.daemon import logs


def parse(entry: bytes) -> dict[str, str]:
    """A reader of the native protocol, written from its description."""
    fields: dict[str, str] = {}
    pos = 0
    while pos < len(entry):
        end = entry.index(b"\n", pos)
        name, equals, value = entry[pos:end].partition(b"=")
        if equals:
            fields[name.decode()] = value.decode()
            pos = end + 1
        else:
            (size,) = struct.unpack_from("<Q", entry, end + 1)
            fields[name.decode()] = entry[end + 9 : end + 9 + size].decode()
            assert entry[end + 9 + size : end + 10 + size] == b"\n"
            pos = end + 10 + size
    return fields


class Peer:
    """Stands for the journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def entry(self) -> dict[str, str]:
        data, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        for fd in fds:
            size = os.fstat(fd).st_size
            data = os.pread(fd, size, 0)
            os.close(fd)
        return parse(data)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path / "journal")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield made
    made.socket.close()
    root.handlers[:], _ = before
    root.setLevel(before[1])
    structlog.reset_defaults()


def test_a_line_becomes_an_entry_with_a_field_per_parameter(peer: Peer) -> None:
    journal = Journal(peer.path)
    logs.setup("info", io.StringIO(), journal)
    structlog.get_logger("engine").warning(
        "camera-offline", camera="0b5c", reason="stall", password="pw", login=Secret("s3cret"), count=3
    )
    found = peer.entry()
    assert found["MESSAGE"].startswith("camera-offline ")
    assert found["PRIORITY"] == "4"
    assert found["CAMERA_ID"] == "0b5c"
    assert (found["RECORDERD_EVENT"], found["RECORDERD_REASON"], found["RECORDERD_COUNT"]) == (
        "camera-offline", "stall", "3",
    )  # fmt: skip
    assert "pw" not in found["RECORDERD_PASSWORD"]
    assert "s3cret" not in "".join(found.values())
    journal.close()


def test_a_traceback_and_a_huge_value_arrive_whole(peer: Peer) -> None:
    journal = Journal(peer.path)
    logs.setup("info", io.StringIO(), journal)
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        structlog.get_logger("x").exception("task-failed", task="t")
    found = peer.entry()
    assert "Traceback" in found["MESSAGE"]
    assert "second line" in found["MESSAGE"]
    assert found["PRIORITY"] == "3"
    structlog.get_logger("x").info("long", text="y" * 3_000_000)
    assert len(peer.entry()["RECORDERD_TEXT"]) == 3_000_000
    journal.close()


def test_what_the_journal_does_not_take_is_written_as_json(tmp_path: Path, peer: Peer) -> None:
    out = io.StringIO()
    journal = Journal(tmp_path / "nobody")
    logs.setup("info", out, journal)
    structlog.get_logger("x").info("kept", camera="c")
    assert json.loads(out.getvalue())["event"] == "kept"
    assert journal.dropped == 1
    journal.close()


@pytest.mark.fast
def test_the_stream_is_the_journal_only_when_device_and_inode_say_so(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file:
        found = os.fstat(file.fileno())
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": "junk"})
        assert not is_journal(file.fileno(), {})


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "wanted"), [("camera id", "CAMERA_ID"), ("_private", "PRIVATE"), ("9lives", "LIVES"), ("é", "FIELD")]
)
def test_field_names_are_legal(name: str, wanted: str) -> None:
    assert field_name(name) == wanted
    assert encode_entry({name: "v"}) == f"{wanted}=v\n".encode()
