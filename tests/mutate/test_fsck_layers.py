"""fsck --repair on a volume that is broken in every layer at once: nothing readable is lost, killed anywhere too."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediadb.format.footer import TRAILER_BYTES, decode_trailer
from mediadb.tools.findings import FsckReport
from mediadb.tools.fsck import fsck
from tests.mutate.judge import learn, read_all
from tests.mutate.memory import Killed, MemoryFs
from tests.mutate.sample import ROOT, Place, S, Volume, make


@pytest.fixture(scope="module")
def volume() -> Volume:
    made = make()
    learn(made)
    return made


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def named(volume: Volume, part: str, suffix: str) -> Path:
    return next(path for path in volume.files if part in path.name and path.suffix == suffix)


def broken(volume: Volume) -> dict[Path, bytes]:
    """VOLUME, a slot of LOG, a header, a footer, names, leftovers, a lane without footer, a copy, a foreign file."""
    files = dict(volume.files)
    files[ROOT / "VOLUME"] = flip(files[ROOT / "VOLUME"], 20)
    log = next(path for path in files if path.name == "LOG")
    files[log] = flip(files[log], 4096 + 40)
    headless, footless = named(volume, "-00000001-000001", ".rseg"), named(volume, "-00000001-000002", ".rseg")
    files[headless] = bytes(4096) + files[headless][4096:]
    files[footless] = flip(files[footless], len(files[footless]) - 20)
    wrong = named(volume, "-00000002-000000", ".rseg")
    files[wrong.with_name("20260921T141341Z-00000007-000000.rseg")] = files.pop(wrong)
    files[headless.with_name("20260921T141341Z-00000007-000009.rseg")] = files[wrong.with_name(
        "20260921T141341Z-00000007-000000.rseg"
    )]  # fmt: skip
    lane = next(path for path in files if "archive" in path.parts)
    raw = files.pop(lane)
    files[lane.with_suffix(".open")] = raw[: decode_trailer(raw[-TRAILER_BYTES:], len(raw)).footer_offset]
    files[ROOT / "VOLUME.tmp"] = b"x"
    files[footless.with_name(footless.name + ".tmp")] = b"x"
    files[log.with_name("notes.txt")] = b"mine"
    return files


def expected(volume: Volume) -> set[Place]:
    """All but what the interrupted removal takes."""
    whole = read_all(MemoryFs(volume.files), exact=True)
    first = named(volume, "-00000001-000000", ".rseg").stem
    return {place for place, name in whole.samples.items() if not name.endswith(first)}


def test_every_layer_is_found_and_mended(volume: Volume) -> None:
    fs = MemoryFs(broken(volume))
    before = dict(fs.content())
    found = fsck(fs, ROOT, None, repair=False)
    assert fs.content() == before
    codes = {problem.code for problem in found.problems}
    assert codes >= {
        "volume-damaged", "temporary-left", "log-damaged", "header-damaged", "name-wrong", "segment-twice",
        "footer-damaged", "unsealed", "removal-unfinished", "lane-unsealed",
    }  # fmt: skip
    assert all(problem.what and problem.lost and problem.repair for problem in found.problems)
    report = fsck(fs, ROOT, None, repair=True)
    assert report.left == []
    assert report.quarantined == 1
    assert read_all(fs, exact=True).samples.keys() == expected(volume)
    again = fsck(fs, ROOT, None, repair=True)
    assert (again.problems, again.repaired, again.left) == ([], [], [])
    assert any("notes.txt" in note for note in again.notes)


def test_killed_at_any_change_and_repeated_it_ends_the_same(volume: Volume) -> None:
    files, whole = broken(volume), expected(volume)
    counting = MemoryFs(files)
    fsck(counting, ROOT, None, repair=True)
    assert counting.changes > 20
    for change in range(1, counting.changes + 1):
        fs = MemoryFs(files)
        fs.kill_at = change
        with pytest.raises(Killed):
            fsck(fs, ROOT, None, repair=True)
        after = MemoryFs(fs.content())
        report: FsckReport = fsck(after, ROOT, None, repair=True)
        assert report.left == [], (change, report.left)
        assert read_all(after, exact=True).samples.keys() == whole, change
        assert fsck(after, ROOT, None, repair=False).problems == [], change


def scattered(volume: Volume) -> dict[Path, bytes]:
    """A segment and its journal in an earlier day's folder, copies of two others in earlier and later ones."""
    files = dict(volume.files)
    moved = named(volume, "-00000001-000001", ".rseg")
    for path in (moved, moved.with_suffix(".gone")):
        files[path.parent.parent / "2026-01-02" / path.name] = files.pop(path)
    first, other = named(volume, "-00000001-000002", ".rseg"), named(volume, "-00000002-000000", ".rseg")
    files[first.parent.parent / "2026-01-02" / first.name] = files[first]
    files[other.parent.parent / "2027-01-02" / other.name] = files[other]
    return files


def test_segments_in_wrong_folders_come_home_killed_anywhere_too(volume: Volume) -> None:
    files, whole = scattered(volume), expected(volume)
    counting = MemoryFs(files)
    codes = sorted(problem.code for problem in fsck(counting, ROOT, None, repair=True).problems)
    assert [code for code in codes if code in ("name-wrong", "segment-twice")] == ["name-wrong", *["segment-twice"] * 2]
    for change in range(1, counting.changes + 1):
        fs = MemoryFs(files)
        fs.kill_at = change
        with pytest.raises(Killed):
            fsck(fs, ROOT, None, repair=True)
        after = MemoryFs(fs.content())
        report = fsck(after, ROOT, None, repair=True)
        assert report.left == [], (change, report.left)
        assert read_all(after, exact=True).samples.keys() == whole, change
        again = fsck(after, ROOT, None, repair=False)
        assert (again.problems, again.quarantined) == ([], 2), change
        assert named(volume, "-00000001-000001", ".gone") in after.content(), change


@pytest.mark.parametrize("what", ["missing", "zeroed", "behind"])
def test_a_log_file_is_made_again_from_its_segments(what: str, volume: Volume) -> None:
    files = dict(volume.files)
    log = next(path for path in files if path.name == "LOG")
    if what == "missing":
        del files[log]
    else:
        files[log] = bytes(8192) if what == "zeroed" else _first_epoch(files[log])
    fs = MemoryFs(files)
    assert fsck(fs, ROOT, None, repair=False).left
    assert fsck(fs, ROOT, None, repair=True).left == []
    from tests.mutate.sample import T0, Run

    run = Run(fs, 0x33, T0 + 60 * S)
    assert run.log.identity.epoch == 3
    run.film(1)
    run.stop()
    assert read_all(fs, exact=True).samples.keys() >= expected(volume)


def _first_epoch(raw: bytes) -> bytes:
    """LOG as the first run left it: the slot of the second is gone."""
    import struct

    epochs = [struct.unpack_from("<I", raw, at + 72)[0] for at in (0, 4096)]
    newer = epochs.index(max(epochs)) * 4096
    return raw[:newer] + bytes(4096) + raw[newer + 4096 :]


def test_a_segment_that_the_ledger_knows_and_nobody_finds_stays_a_problem(volume: Volume) -> None:
    files = dict(volume.files)
    del files[named(volume, "-00000001-000001", ".rseg")]
    report = fsck(MemoryFs(files), ROOT, None, repair=True)
    assert [text for text in report.left if "no rule removed it" in text]
    assert any(problem.code == "segment-missing" for problem in report.problems)


def test_a_seal_the_ledger_lost_is_told_again(volume: Volume) -> None:
    files = {path: data for path, data in volume.files.items() if "ledger" not in path.parts}
    files = {path: data for path, data in files.items() if path.suffix not in (".open", ".gone")}
    fs = MemoryFs(files)
    report = fsck(fs, ROOT, None, repair=True)
    assert ([p.code for p in report.problems], report.left) == (["seal-untold"] * 4, [])
    assert fsck(fs, ROOT, None, repair=False).problems == []
