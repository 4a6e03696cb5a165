"""What else may lie in a storage's folder: it is named in words and left as it is, and recording begins all the same.

One line of the table in docs/mediadb.md per case here.
"""

from __future__ import annotations

import os
import socket
import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.errors import StorageDamaged, StorageError, StorageForeign, StorageLocked, StorageMissing
from mediadb.format.segment_header import SegmentHeader, decode_segment_header, encode_segment_header
from mediadb.fs import RealFs
from mediadb.locks import OpenRequest, open_log
from mediadb.read.reader import Reader
from mediadb.tools.main import main

DAY = "2023-11-14"
Strange = Callable[[Path, Path], list[Path]]  # (log folder, an unsealed segment of the first run) -> what was put there


def header_of(path: Path) -> SegmentHeader:
    return decode_segment_header(path.read_bytes()[:4096])


def of_another_log(log: Path, segment: Path) -> list[Path]:
    path = log / DAY / "20231114T221300Z-00000001-000007.open"
    header = replace(header_of(segment), log=uuid.uuid4())
    path.write_bytes(encode_segment_header(header) + segment.read_bytes()[4096:])
    return [path]


def of_a_later_epoch_by_name(log: Path, segment: Path) -> list[Path]:
    path = log / DAY / "20231114T221300Z-00000099-000007.open"
    path.write_bytes(b"not ours" * 1000)
    return [path]


def of_another_epoch_than_its_name(log: Path, segment: Path) -> list[Path]:
    path = log / DAY / "20231114T221300Z-00000001-000008.open"
    path.write_bytes(encode_segment_header(replace(header_of(segment), epoch=0)) + segment.read_bytes()[4096:])
    return [path]


def of_a_later_format(log: Path, segment: Path) -> list[Path]:
    path = log / DAY / "20231114T221300Z-00000001-000009.open"
    raw = bytearray(segment.read_bytes())
    raw[8:10] = struct.pack("<H", 7)
    raw[124:128] = struct.pack("<I", zlib.crc32(bytes(raw[:124])))
    path.write_bytes(raw)
    return [path]


def with_features_that_forbid_writing(log: Path, segment: Path) -> list[Path]:
    path = log / DAY / "20231114T221300Z-00000001-000010.open"
    path.write_bytes(encode_segment_header(replace(header_of(segment), read_only=4)) + segment.read_bytes()[4096:])
    return [path]


def a_folder_named_like_a_segment(log: Path, segment: Path) -> list[Path]:
    inside = log / DAY / "20231114T221300Z-00000001-000011.open" / "letter.txt"
    inside.parent.mkdir()
    inside.write_bytes(b"mine")
    (log / DAY / "20231114T221300Z-00000001-000012.rseg").mkdir()
    return [inside]


def garbage_named_like_a_segment(log: Path, segment: Path) -> list[Path]:
    paths = [log / DAY / "20231114T221300Z-00000001-000013.open", log / DAY / "20231114T221300Z-00000001-000014.rseg"]
    for path in paths:
        path.write_bytes(os.urandom(9000))
    return paths


def a_link_out_of_the_storage(log: Path, segment: Path) -> list[Path]:
    elsewhere = log.parents[3] / "elsewhere.bin"
    elsewhere.write_bytes(segment.read_bytes())
    path = log / DAY / "20231114T221300Z-00000001-000015.open"
    path.symlink_to(elsewhere)
    return [elsewhere]


def files_of_other_programs(log: Path, segment: Path) -> list[Path]:
    paths = [log / DAY / "holiday.mp4", log / DAY / "x.open", log / "notes.txt", log / "lost+found" / "#12"]
    paths[3].parent.mkdir()
    for path in paths:
        path.write_bytes(b"mine")
    return paths


def a_copy_of_the_whole_log(log: Path, segment: Path) -> list[Path]:
    copied = log.with_name(log.name + ".bak")
    (copied / DAY).mkdir(parents=True)
    for name in ("LOG", f"{DAY}/{segment.name}"):
        (copied / name).write_bytes((log / name).read_bytes())
    return [copied / "LOG", copied / DAY / segment.name]


def a_damaged_log_beside(log: Path, segment: Path) -> list[Path]:
    path = log.with_name(str(uuid.uuid4())) / "LOG"
    path.parent.mkdir()
    path.write_bytes(os.urandom(8192))
    return [path]


CASES: dict[Strange, str] = {
    of_another_log: "segment-foreign",
    of_a_later_epoch_by_name: "file-left-alone",
    of_another_epoch_than_its_name: "file-left-alone",
    of_a_later_format: "segment-unreadable",
    with_features_that_forbid_writing: "file-left-alone",
    a_folder_named_like_a_segment: "segment-unreadable",
    garbage_named_like_a_segment: "segment-unreadable",
    a_link_out_of_the_storage: "recovery-failed",
    files_of_other_programs: "file-left-alone",
    a_copy_of_the_whole_log: "file-left-alone",
    a_damaged_log_beside: "file-left-alone",
}


def killed_run(root: Path) -> tuple[Path, Path]:
    """A run that was killed: its log folder and the segment it left open."""
    run = Rig(RealFs(), root=root)
    run.frames(0, 25)
    run.commit()
    run.writer.ledger.close()
    run.log.close()
    segment = next(path for path in sorted(run.log.folder.glob(f"{DAY}/*.open")) if path.stat().st_size > 4096)
    return run.log.folder, segment


@pytest.mark.parametrize("strange", CASES, ids=lambda case: case.__name__)
def test_it_is_told_and_left_alone_and_recording_begins(strange: Strange, tmp_path: Path) -> None:
    root = tmp_path / "vol"
    log, segment = killed_run(root)
    there = {path: path.read_bytes() for path in strange(log, segment)}
    again = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000)
    again.frames(25, 25, base_us=rig.T0 + 60_000_000)
    again.commit()
    again.recover()
    assert CASES[strange] in {code for code, _ in again.troubles}
    told = " ".join(str(params) for code, params in again.troubles if code == CASES[strange])
    assert str(root) in told
    assert again.acked == {rig.track_id(0): 25}
    assert again.close() == []
    assert {path: path.read_bytes() for path in there} == there
    assert segment.with_suffix(".rseg").exists()
    assert shown(root) == list(range(50)), "what was recorded is shown, once"


def test_very_many_strange_files_are_told_in_few_words(tmp_path: Path) -> None:
    log, _ = killed_run(tmp_path / "vol")
    for number in range(500):
        (log / DAY / f"holiday-{number}.mp4").touch()
    again = Rig(RealFs(), root=tmp_path / "vol", start_us=rig.T0 + 60_000_000)
    again.recover()
    told = [params for code, params in again.troubles if code == "file-left-alone"]
    assert len(told) == 21
    assert "480 more" in str(told[-1]["text"])
    again.close()


def things_that_are_no_files(root: Path, log: Path) -> list[Path]:
    """Pipes without a writer, sockets, endless devices, links in circles, folders: with every name that is read."""
    day, month = log / DAY, root / "ledger" / "main" / log.name
    names = [day / f"20231114T221300Z-00000001-0009{number:02}{end}" for number in range(5) for end in KINDS]
    places = [*names, log / "2023-01-01", month / "2023-01", root / "log" / "pipe", root / "log" / "main" / "pipe"]
    for number, path in enumerate(places):
        match number % 5:
            case 0:
                os.mkfifo(path)
            case 1:
                path.symlink_to("/dev/zero")
            case 2:
                path.symlink_to(path.name)
            case 3:
                with socket.socket(socket.AF_UNIX) as one:
                    os.chdir(path.parent)
                    one.bind(path.name)
            case _:
                path.mkdir()
    for number, make in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)), start=2):
        make(month / f"2023-0{number}")
    return places


KINDS = (".rseg", ".open", ".gone", ".tmp", ".copy", ".rseg.tmp")


def test_what_is_no_file_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a pipe waits for a writer, a device never ends, a link in a circle is an error: none of them is met."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "vol"
    log, _ = killed_run(root)
    there = things_that_are_no_files(root, log)
    again = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000)
    again.frames(25, 25, base_us=rig.T0 + 60_000_000)
    again.commit()
    again.recover()
    assert again.acked == {rig.track_id(0): 25}
    assert again.close() == []
    assert shown(root) == list(range(50))
    assert [path for path in there if not os.path.lexists(path) and path.suffix != ".open"] == []
    for command in ("ls", "verify", "fsck", "reclaim", "rebuild"):
        assert main([command, str(root), "--json"]) in (0, 1), command
    assert main(["salvage", str(root), str(tmp_path / "rescued")]) in (0, 1)


def test_names_that_are_no_text_are_nobodys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of another encoding, control characters: at every place where folders are listed."""
    root = tmp_path / "vol"
    log, _ = killed_run(root)
    for name in (b"\xff\xfe", b"\x1b[31m"):
        for folder in (root / "log", root / "ledger", root / "log" / "main", log, log / DAY):
            os.mkdir(os.fsencode(folder) + b"/" + name)
        for end in (b".rseg", b".open", b".gone"):
            (log / DAY / os.fsdecode(name + end)).touch()
    (root / "log" / "a file").touch()
    again = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000)
    again.frames(25, 25, base_us=rig.T0 + 60_000_000)
    again.commit()
    again.recover()
    assert again.close() == []
    assert shown(root) == list(range(50))
    for command in (["ls"], ["verify"], ["fsck"], ["rebuild"], ["reclaim"], ["coverage"]):
        assert main([command[0], str(root)]) in (0, 1), command
    assert "one storage was asked for" not in capsys.readouterr().err
    assert main(["salvage", str(root), str(tmp_path / "rescued")]) in (0, 1)


def shown(root: Path) -> list[int]:
    """Numbers of the samples that the product's reader gives."""
    reader = Reader.open_offline(root, "main", lambda: rig.T0 + 120_000_000)
    refs = reader.chunks(rig.track_id(0), 0, 1 << 61)
    numbers = [int.from_bytes(bytes(sample.data[:4]), "big") for ref in refs for sample in reader.read(ref).samples]
    reader.close()
    return numbers


@pytest.mark.parametrize("size", [0, 512, 4096])
def test_an_interrupted_creation_leaves_nothing(size: int, tmp_path: Path) -> None:
    root = tmp_path / "vol"
    log, _ = killed_run(root)
    empty = log / DAY / "20231114T221400Z-00000001-000003.open"
    empty.write_bytes(bytes(size))
    again = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert {code for code, _ in again.troubles} == {"recovered-segment"}
    assert not empty.exists()
    again.close()


def test_a_folder_that_cannot_be_listed_stops_nothing(tmp_path: Path) -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    after = fs.crash()
    again = Rig(after, start_us=rig.T0 + 60_000_000)
    after.fail_always["listdir"] = 5
    again.recover()
    assert "file-left-alone" in {code for code, _ in again.troubles}
    after.heal()
    again.frames(25, 5, base_us=rig.T0 + 60_000_000)
    again.commit()
    assert again.acked == {rig.track_id(0): 5}


def test_damage_of_acknowledged_commits_does_not_end_the_torn_tail(tmp_path: Path) -> None:
    """Block 2 is damaged; block 3 says it was durable and is itself above the last acknowledged one: it is kept."""
    import oracle

    root = tmp_path / "vol"
    run = Rig(RealFs(), root=root)
    for second in range(3):
        run.frames(second * 25, 25)
        run.commit()
    run.writer.ledger.close()
    run.log.close()
    segment = next(path for path in sorted(run.log.folder.glob(f"{DAY}/*.open")) if path.stat().st_size > 4096)
    raw = bytearray(segment.read_bytes())
    blocks = oracle.blocks(bytes(raw))
    raw[blocks[1].offset] ^= 0xFF
    segment.write_bytes(raw[: blocks[2].offset + blocks[2].length])
    again = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert "segment-damaged" in {code for code, _ in again.troubles}
    again.close()
    assert shown(root) == [*range(25), *range(50, 75)]


# -- who may write ----------------------------------------------------------------------------------------------------


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else b"" for p in sorted(root.rglob("*"))}


def refused(root: Path, error: type[StorageError], **known: object) -> str:
    before = tree(root)
    request = OpenRequest(root, "main", rig.SERVER, 77, rig.T0 + 90_000_000, create=True)
    with pytest.raises(error) as caught:
        open_log(RealFs(), replace(request, **known))  # type: ignore[arg-type]
    assert tree(root) == before, "not one byte was changed, nothing was made or removed"
    return str(caught.value)


def test_the_second_of_two_daemons_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first = Rig(RealFs(), root=tmp_path / "vol")
    first.frames(0, 25)
    first.commit()
    assert "in use by another process" in refused(tmp_path / "vol", StorageLocked)
    first.frames(25, 25)
    first.commit()
    assert first.acked == {rig.track_id(0): 50}
    assert first.close() == []


def test_an_empty_folder_where_a_volume_is_known_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    words = refused(tmp_path / "mnt", StorageMissing, expected_volume=uuid.uuid4())
    assert "mount" in words
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_copied_log_without_the_own_one_is_refused_in_words(tmp_path: Path) -> None:
    log, _ = killed_run(tmp_path / "vol")
    log.rename(log.with_name(str(uuid.uuid4())))
    assert "was copied from another volume or log" in refused(tmp_path / "vol", StorageForeign)


def test_a_log_that_does_not_verify_is_refused_in_words(tmp_path: Path) -> None:
    log, _ = killed_run(tmp_path / "vol")
    (log / "LOG").write_bytes(bytes(8192))
    assert "mediadb fsck" in refused(tmp_path / "vol", StorageDamaged)
