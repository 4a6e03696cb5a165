"""Who may write: missing, foreign, doubly owned, older and locked storages are refused before a byte is changed."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs, Node

from mediadb.errors import (
    StorageDamaged,
    StorageDoublyOwned,
    StorageError,
    StorageForeign,
    StorageLocked,
    StorageMissing,
    StorageOlder,
    UnsupportedVersion,
)
from mediadb.fs import RealFs
from mediadb.locks import LogHandle, OpenRequest, open_log

pytestmark = pytest.mark.fast
REQUEST = OpenRequest(rig.ROOT, "main", rig.SERVER, 7, rig.T0, create=True)


def opened(fs: FaultFs, request: OpenRequest = REQUEST) -> LogHandle:
    return open_log(fs, request)


def refused(fs: FaultFs, error: type[StorageError], request: OpenRequest) -> StorageError:
    """Opening is refused with this error and changes nothing."""
    before = {path: bytes(node.data) for path, node in fs.names.items()}
    with pytest.raises(error) as caught:
        open_log(fs, request)
    assert {path: bytes(node.data) for path, node in fs.names.items()} == before
    assert str(rig.ROOT) in str(caught.value)
    return caught.value


def log_path(fs: FaultFs) -> Path:
    (path,) = [path for path in fs.names if path.name == "LOG"]
    return path


def copy_file(fs: FaultFs, source: Path, target: Path) -> None:
    node = Node(9000 + len(fs.names))
    node.data = bytearray(fs.names[source].data)
    fs.names[target] = node
    fs.mkdirs(target.parent)


def test_epochs_grow_and_the_run_is_kept() -> None:
    fs = FaultFs()
    first = opened(fs)
    assert (first.identity.epoch, first.previous) == (1, None)
    first.close()
    second = opened(fs, replace(REQUEST, run=8))
    assert second.identity.epoch == 2
    assert second.previous is not None
    assert second.previous.run == 7
    second.close()
    assert opened(fs.crash()).identity.epoch == 3, "the new epoch was durable"


def test_a_torn_slot_falls_back_to_the_other() -> None:
    fs = FaultFs()
    for run in range(1, 4):
        opened(fs, replace(REQUEST, run=run)).close()
    node = fs.names[log_path(fs)]
    node.data[0:4096] = bytes(4096)
    handle = opened(fs)
    assert handle.identity.epoch in (3, 4)
    assert handle.previous is not None
    handle.close()
    node.data[:] = bytes(len(node.data))
    refused(fs, StorageDamaged, REQUEST)


def test_missing() -> None:
    fs = FaultFs()
    refused(fs, StorageMissing, replace(REQUEST, create=False))
    refused(fs, StorageMissing, replace(REQUEST, expected_volume=uuid.uuid4()))
    opened(fs).close()
    gone = FaultFs()
    copy_node = fs.names[rig.ROOT / "VOLUME"]
    gone.names[rig.ROOT / "VOLUME"] = copy_node
    refused(gone, StorageMissing, replace(REQUEST, known_epoch=1))


def test_another_volume_is_foreign() -> None:
    fs = FaultFs()
    opened(fs).close()
    refused(fs, StorageForeign, replace(REQUEST, expected_volume=uuid.uuid4()))


def test_another_server_is_foreign_and_a_copied_log_too() -> None:
    fs = FaultFs()
    opened(fs).close()
    refused(fs, StorageForeign, replace(REQUEST, owner=uuid.uuid4()))
    other = FaultFs()
    opened(other).close()
    other.names[rig.ROOT / "VOLUME"] = fs.names[rig.ROOT / "VOLUME"]
    refused(other, StorageForeign, REQUEST)


def test_doubly_owned() -> None:
    fs = FaultFs()
    opened(fs).close()
    there = log_path(fs)
    twin = uuid.uuid4()
    from mediadb.format.identity import LOG_FILE_BYTES, decode_log, encode_log_slot

    slot, _ = decode_log(bytes(fs.names[there].data))
    assert slot is not None
    target = there.parent.with_name(str(twin)) / "LOG"
    copy_file(fs, there, target)
    raw = encode_log_slot(replace(slot, log=twin))
    fs.names[target].data = bytearray(raw + bytes(LOG_FILE_BYTES - len(raw)))
    refused(fs, StorageDoublyOwned, REQUEST)


def test_older_than_known() -> None:
    fs = FaultFs()
    run = rig.Rig(fs)
    run.frames(0, 5)
    run.commit()
    backup = bytes(fs.names[log_path(fs)].data)
    run.close()
    again = rig.Rig(fs, start_us=rig.T0 + 10_000_000)
    again.frames(0, 5)
    again.commit()
    again.close()
    refused(fs, StorageOlder, replace(REQUEST, known_epoch=9))
    fs.names[log_path(fs)].data = bytearray(backup)
    assert "mediadb fsck --repair" in str(refused(fs, StorageOlder, REQUEST)), "to accept it would not help"


def test_a_later_format_is_refused() -> None:
    fs = FaultFs()
    opened(fs).close()
    import struct
    import zlib

    node = fs.names[rig.ROOT / "VOLUME"]
    node.data[8:10] = struct.pack("<H", 1)
    node.data[60:64] = struct.pack("<I", zlib.crc32(bytes(node.data[:60])))
    with pytest.raises(UnsupportedVersion):
        opened(fs)
    node.data[20] ^= 1
    refused(fs, StorageDamaged, REQUEST)


def test_two_openings_at_once(tmp_path: Path) -> None:
    request = replace(REQUEST, volume=tmp_path)
    first = open_log(RealFs(), request)
    with pytest.raises(StorageLocked):
        open_log(RealFs(), request)
    first.close()
    open_log(RealFs(), request).close()


def test_an_unmounted_volume_is_noticed_before_anything_is_called_durable() -> None:
    fs = FaultFs()
    run = rig.Rig(fs)
    run.frames(0, 5)
    run.commit()
    away, fs.names = fs.names, {}
    run.frames(5, 5)
    run.commit()
    assert run.acked == {rig.track_id(0): 5}
    assert [code for code, _ in run.troubles] == ["storage-error"]
    assert not fs.names
    fs.names = away
    run.commit()
    assert run.acked == {rig.track_id(0): 10}
    assert rig.numbers(fs, rig.track_id(0)) == list(range(10))
