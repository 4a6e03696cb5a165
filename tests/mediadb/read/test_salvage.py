"""salvage: what verifies comes out of anything, byte for byte; what does not is named with its time."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import SERVER, T0, VIDEO, Recorder, S, offline, payload, spec

from mediadb.fs import RealFs
from mediadb.ledger_facts import FUTURE_US, PAST_US
from mediadb.locks import read_log
from mediadb.read.reader import Reader
from mediadb.segment_scan import scan_segment
from mediadb.tools.main import main
from mediadb.tools.salvage import Salvaged, salvage
from mediadb.types import Cause, Kind, Names, Origin, Sample, State
from mediadb.write.lane import LanePlace, LaneWriter
from tests import disks

CAM, OTHER = spec(1), spec(2)
END_US = T0 + 3600 * S


def samples(volume: Path, track: Any = CAM) -> list[int]:
    """Numbers of the samples of a track, each compared with what was recorded."""
    reader = offline(volume)
    out = []
    try:
        for part in reader.index.parts(track.track, PAST_US, FUTURE_US):
            for n in range(part.count):
                for sample in reader.read(reader.part_ref(track.track, part, n)).samples:
                    number = int.from_bytes(sample.data[:8], "big")
                    assert sample.data == payload(track.track, number)
                    assert sample.recv_us == T0 + number * 40_000
                    out.append(number)
    finally:
        reader.close()
    return sorted(out)


def states(volume: Path, end_us: int) -> list[tuple[int, int, str, str]]:
    reader = offline(volume)
    try:
        covered = reader.coverage([CAM.track], T0, end_us)[CAM.track]
    finally:
        reader.close()
    return [(i.start_us, i.end_us, i.cause.state.value, i.cause.reason) for i in covered]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rescue(source: Path, target: Path) -> Salvaged:
    return salvage(RealFs(), source, target, END_US)


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_healthy_volume_comes_out_whole(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished)
    target = tmp_path / "new"
    code, out = command(capsys, "salvage", finished, target)
    assert (code, out["whole"], out["unreadable_bytes"], out["damaged_chunks"]) == (0, True, 0, 0)
    assert [(t["name"], t["samples"], t["holes"]) for t in out["tracks"]] == [("cam 1", 625, []), ("cam 2", 625, [])]
    assert contents(finished) == before
    assert samples(target) == samples(finished) == list(range(625))
    assert samples(target, OTHER) == list(range(625))
    assert states(target, T0 + 60 * S) == states(finished, T0 + 60 * S)
    assert command(capsys, "verify", target)[0] == 0
    assert command(capsys, "fsck", target)[0] == 0
    assert command(capsys, "ls", target)[0] == 0
    log = next((target / "log" / "main").iterdir())
    identity, _ = read_log(RealFs(), log)
    assert identity is not None
    assert (identity.owner, identity.epoch) == (SERVER, 1)
    code = main(["export", str(target), "cam 1", "--start", "2026-09-21T14:13:20Z", "--end", "2026-09-21T14:13:30Z",
                 "-o", str(tmp_path / "out")])  # fmt: skip
    assert code == 0


def pieces_of(volume: Path, rng: random.Random) -> Iterable[bytes]:
    """Segments without header page, block headers, directories and footers, in any order, between rubbish."""
    paths = sorted(volume.rglob("*.rseg"))
    rng.shuffle(paths)
    for path in paths:
        raw = bytearray(path.read_bytes())
        scan = scan_segment(RealFs(), path)
        raw[:4096] = bytes(4096)
        for block in scan.blocks:
            head = block.header.dir_offset + 272 * block.header.count
            raw[block.offset : block.offset + head] = rng.randbytes(head)
        yield bytes(raw[: scan.blocks[-1].end])
        yield rng.randbytes(512 * rng.randrange(1, 40))


def test_nothing_but_chunks_is_needed(finished: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"".join(pieces_of(finished, random.Random(3))))
    result = rescue(image, tmp_path / "new")
    assert samples(tmp_path / "new") == samples(tmp_path / "new", OTHER) == list(range(625))
    assert [t.names.camera for t in result.tracks.values()] != []
    assert result.whole


def test_what_is_damaged_is_missing_and_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted(finished.rglob("*.rseg"))[1]
    block = scan_segment(RealFs(), path).blocks[4]
    entry = next(e for e in block.entries if e.header.track == CAM.track.bytes and e.header.kind == Kind.DELTA)
    raw = bytearray(path.read_bytes())
    raw[block.offset + entry.offset + entry.header.chunk_len - 9] ^= 1
    path.write_bytes(raw)
    code, out = command(capsys, "salvage", finished, tmp_path / "new")
    assert code == 1
    mine, other = out["tracks"]
    assert (mine["damaged_chunks"], mine["missing_chunks"], len(mine["holes"])) == (1, 1, 1)
    assert (other["damaged_chunks"], other["missing_chunks"], other["samples"]) == (0, 0, 625)
    assert len(samples(tmp_path / "new")) == 625 - 24
    low, high = entry.header.recv_us, entry.header.end_us
    assert (low, high, "storage-error", "not-salvaged") in states(tmp_path / "new", T0 + 25 * S)


def test_a_missing_segment_is_a_hole_with_its_time(finished: Path, tmp_path: Path) -> None:
    sorted(finished.rglob("*.rseg"))[-1].unlink()
    result = rescue(finished, tmp_path / "new")
    assert not result.whole
    assert samples(tmp_path / "new") == list(range(500))
    assert (T0 + 20 * S, T0 + 25 * S, "storage-error", "not-salvaged") in states(tmp_path / "new", T0 + 30 * S)


def test_what_a_rule_removed_is_no_loss(recorder: Callable[..., Recorder], volume: Path, tmp_path: Path) -> None:
    from mediadb.format.ledger_page import LedgerKind

    made = recorder()
    made.film(25, CAM)
    assert made.stop() == []
    second = recorder(run=2, start_us=T0 + 60 * S)
    first = sorted(volume.rglob("*.rseg"))[0]
    spans = [{"track": str(CAM.track), "spans": [[T0, T0 + 10 * S]]}]
    body = {"segment": "x", "name": first.stem, "state": "deleted", "rule": "age", "bytes": 1, "tracks": spans}
    second.writer.ledger.add(LedgerKind.REMOVED, second.now_us, body)
    second.stop()
    first.unlink()
    result = rescue(volume, tmp_path / "new")
    assert result.whole
    assert [hole[3] for hole in result.tracks[CAM.track].holes] == ["removed"]
    assert (T0, T0 + 10 * S, "deleted", "age") in states(tmp_path / "new", T0 + 25 * S)


def test_lanes_stay_lanes_and_an_unsealed_log_is_taken(
    recorder: Callable[..., Recorder], volume: Path, tmp_path: Path
) -> None:
    made = recorder()
    made.film(12, CAM)
    identity = made.log.identity
    place = LanePlace(volume, "main", identity.volume, SERVER, identity.log, Origin.EDGE)
    with LaneWriter(RealFs(), place, CAM, Names("cam 1", "box")) as lane:
        lane.config(VIDEO)
        for n in range(1000, 1050):
            at = T0 + n * 40_000
            lane.extend([Sample(payload(CAM.track, n), n * 3600, n * 3600, 0 if n % 25 else 1, at)])
    made.crash()
    for path in [*volume.rglob("LOG"), volume / "VOLUME"]:
        path.unlink()
    assert rescue(volume, tmp_path / "new").whole
    assert samples(tmp_path / "new") == [*range(300), *range(1000, 1050)]
    assert len(list((tmp_path / "new" / "archive").rglob("*.rseg"))) == 1
    assert main(["verify", str(tmp_path / "new")]) == 0


class BadSectors(RealFs):
    """Reads that touch `bad` fail."""

    def __init__(self, bad: tuple[int, int]) -> None:
        super().__init__()
        self.bad = bad

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if offset < self.bad[1] and offset + length > self.bad[0]:
            raise OSError(errno.EIO, "Input/output error")
        return super().pread(fd, length, offset)


def test_bad_sectors_are_stepped_over_and_counted(finished: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"".join(path.read_bytes() for path in sorted(finished.rglob("*.rseg"))))
    bad = (100_352, 100_352 + 12_288)
    result = salvage(BadSectors(bad), image, tmp_path / "new", END_US)
    assert bad[1] - bad[0] <= result.losses.unreadable_bytes <= bad[1] - bad[0] + 2 * 4096
    assert not result.whole
    got = len(samples(tmp_path / "new")) + len(samples(tmp_path / "new", OTHER))
    assert 1250 - 100 <= got < 1250


def test_a_target_that_is_in_use_or_inside_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert main(["salvage", str(finished), str(finished / "new")]) == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["salvage", str(finished), str(tmp_path / "full")]) == 2
    assert main(["salvage", str(tmp_path / "nowhere"), str(tmp_path / "new")]) == 3
    assert contents(finished) == before
    capsys.readouterr()


def test_rubbish_gives_an_empty_volume_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rubbish").write_bytes(random.Random(1).randbytes(1 << 20) + b"RCHK" * 1000 + b"RBLKRLPG" * 500)
    assert main(["salvage", str(tmp_path / "rubbish"), str(tmp_path / "new")]) == 1
    assert "nothing was found" in capsys.readouterr().out


@pytest.mark.disks
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_raw_device_with_an_end_that_cannot_be_read(kind: str, tmp_path: Path) -> None:
    disks.need()
    with disks.Disk(tmp_path / "disk", kind) as disk:
        made = Recorder(disk.mount / "vol", segment_us=5 * S)
        made.film(12, CAM, OTHER)
        assert made.stop() == []
        expected = samples(disk.mount / "vol")
        disk.detach()
        os.truncate(disk._image, disk._image.stat().st_size - (8 << 20))
        result = rescue(Path(disk.device), tmp_path / "new")
        assert result.losses.unreadable_bytes >= 4 << 20
        assert samples(tmp_path / "new") == expected
        reader = Reader.open_offline(tmp_path / "new", None, lambda: END_US)
        assert {t.names.camera for t in reader.tracks()} == {"cam 1", "cam 2"}
        reader.close()
        assert Cause(State.RECORDED).state.value in {state for _, _, state, _ in states(tmp_path / "new", T0 + 12 * S)}


def test_what_lies_there_twice_is_taken_once(finished: Path, tmp_path: Path) -> None:
    for path in sorted(finished.rglob("*.rseg"))[:2]:
        (finished / f"{path.stem}.bak").write_bytes(path.read_bytes())
    result = rescue(finished, tmp_path / "new")
    assert result.twice > 0
    assert samples(tmp_path / "new") == list(range(625))
    assert main(["verify", str(tmp_path / "new")]) == 0
