"""Is what lies on a volume what was written? Segments, ledger, VOLUME, LOG, and an export against its manifest.

Law: read-only; every finding names file, offset and what. Goes on after damage. catalog.db and what recovery has cut
off are out of scope. Format version 0 is not signed, and the verdict says so.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError, MediaDbError
from mediadb.format.identity import (
    LOG_FILE_BYTES,
    LOG_SLOT_BYTES,
    LOG_SLOT_OFFSETS,
    VOLUME_BYTES,
    decode_log_slot,
    decode_volume,
)
from mediadb.format.ledger_page import PAGE_HEADER_BYTES, LedgerKind, Page, scan_pages
from mediadb.fs import Fs, read_file
from mediadb.ledger import MAX_FILE_BYTES, ledger_files
from mediadb.locks import LOG_NAME, VOLUME_NAME
from mediadb.movie.manifest import listed_files, manifest_of
from mediadb.segment_files import OPEN, SEALED, Voids, list_segments, list_storages, names_in, read_footer
from mediadb.segment_scan import scan_segment
from mediadb.tools.moved import Moves
from mediadb.tools.places import in_its_day, out_of_place, second_names
from mediadb.tools.verify_segment import Finding, SegmentResult, progress_over, verify_segment

NOT_SALVAGED: Final = "not-salvaged"  # the code of a hole that salvage left, and the reason of its gap
PAGE_PAD: Final = 8  # bytes at the end of a ledger page header that its CRC does not cover
Tell = Callable[[int, int, Path], None]


@dataclass(slots=True)
class Verdict:
    """What was looked at and what is wrong. `notes` are no damage: torn tails, unsealed files, removals."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    read_bytes: int = 0
    blocks: int = 0
    chunks: int = 0
    samples: int = 0
    removed_chunks: int = 0

    @property
    def sound(self) -> bool:
        return not self.findings

    def take(self, result: SegmentResult) -> None:
        self.findings += result.findings
        self.notes += result.notes
        self.files += 1
        self.read_bytes += result.size
        self.blocks += result.blocks
        self.chunks += result.chunks
        self.samples += result.samples
        self.removed_chunks += result.removed_chunks


def verify_file(fs: Fs, path: Path) -> Verdict:
    """One segment. Raises OSError."""
    verdict = Verdict()
    verdict.take(verify_segment(fs, path))
    return verdict


def verify_volume(fs: Fs, volume: Path, storage: str | None = None, tell: Tell | None = None) -> Verdict:
    """A whole volume, or one storage of it. Raises OSError when the volume cannot be read at all."""
    verdict = Verdict()
    _volume_file(fs, volume, verdict)
    for name in list_storages(fs, volume):
        if storage is None or name == storage:
            _storage(fs, volume, name, verdict, tell)
    return verdict


def _storage(fs: Fs, volume: Path, storage: str, verdict: Verdict, tell: Tell | None) -> None:
    for log in names_in(fs, volume / "log" / storage):
        _log_file(fs, volume / "log" / storage / log / LOG_NAME, verdict)
    paths = [place.path for place in list_segments(fs, volume, storage)]
    further = second_names(fs, paths, set(filter(in_its_day, paths)))
    verdict.notes += [f"{path}: another name of a segment" for path in sorted(further)]
    paths = [path for path in paths if path not in further]
    voids = _voids(fs, paths)
    ledger = _ledger(fs, volume / "ledger" / storage, verdict)
    results = []
    for path in progress_over(paths, tell):
        try:
            result = verify_segment(fs, path, voids, ledger.moves)
        except FileNotFoundError:
            sealed = path.with_suffix(SEALED)
            if path.suffix != OPEN or fs.stat(sealed) is None:
                continue  # reclaimed while we were on the way
            result = verify_segment(fs, sealed, voids, ledger.moves)
        except OSError as error:
            verdict.findings.append(Finding(str(path), 0, f"cannot be read: {error.strerror}"))
            continue
        if result.header is not None and not path.is_relative_to(volume / "archive"):
            result.misplaced = out_of_place(path, result.header)
        if result.misplaced is not None:
            result.add(0, result.misplaced)
        verdict.take(result)
        results.append(result)
    _across(results, ledger, verdict)


def _voids(fs: Fs, paths: list[Path]) -> Voids:
    """What later segments say of commits they wrote again."""
    voids: Voids = {}
    for path in paths:
        try:
            fd = fs.open_read(path)
            try:
                old = read_footer(fs, fd)[0].meta.get("supersedes", [])
                found = [(uuid.UUID(o["segment"]), (int(o["epoch"]), int(o["counter"]))) for o in old]
            finally:
                fs.close(fd)
        except FormatError:
            try:
                blocks = scan_segment(fs, path).blocks
                found = [(b.header.supersedes[0], b.header.supersedes[1]) for b in blocks if b.header.supersedes]
            except (OSError, FormatError):
                continue
        except OSError:
            continue
        for segment, first in found:
            voids[segment] = min(voids.get(segment, first), first)
    return voids


def _volume_file(fs: Fs, volume: Path, verdict: Verdict) -> None:
    path = volume / VOLUME_NAME
    verdict.files += 1
    try:
        raw = read_file(fs, path, 1 << 20)
        decode_volume(raw)
    except (MediaDbError, OSError) as error:
        verdict.findings.append(Finding(str(path), 0, str(error)))
        return
    if len(raw) != VOLUME_BYTES:
        verdict.findings.append(Finding(str(path), VOLUME_BYTES, "bytes behind the end"))


def _log_file(fs: Fs, path: Path, verdict: Verdict) -> None:
    verdict.files += 1
    try:
        raw = read_file(fs, path, LOG_FILE_BYTES + 1)
    except OSError as error:
        verdict.findings.append(Finding(str(path), 0, f"cannot be read: {error.strerror}"))
        return
    edges = [*LOG_SLOT_OFFSETS[1:], LOG_FILE_BYTES]
    for offset, end in zip(LOG_SLOT_OFFSETS, edges, strict=True):
        slot, rest = raw[offset : offset + LOG_SLOT_BYTES], raw[offset + LOG_SLOT_BYTES : end]
        try:
            wrong = any(slot) and decode_log_slot(slot) is None
        except FormatError:
            wrong = True
        if wrong:
            verdict.findings.append(Finding(str(path), offset, "the slot does not verify"))
        if any(rest):
            at = next(i for i, byte in enumerate(rest) if byte)
            verdict.findings.append(Finding(str(path), offset + LOG_SLOT_BYTES + at, "padding: not zero"))
    if len(raw) != LOG_FILE_BYTES:
        verdict.findings.append(Finding(str(path), min(len(raw), LOG_FILE_BYTES), "LOG has a wrong length"))


@dataclass(slots=True)
class _LedgerSays:
    """Sequence ranges of sealed segments, and which of them were removed."""

    sealed: dict[str, tuple[int, dict[uuid.UUID, tuple[int, int]]]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # file name of each sealed segment
    removed: set[str] = field(default_factory=set)
    holes: list[tuple[int, uuid.UUID, int, int]] = field(default_factory=list)  # run, track, numbers that are not there
    moves: Moves = field(default_factory=lambda: Moves(""))


def _ledger(fs: Fs, root: Path, verdict: Verdict) -> _LedgerSays:
    says = _LedgerSays(moves=Moves(root.name))
    for log in fs.listdir(root):
        numbers: dict[tuple[int, int], _Numbers] = {}
        torn: list[Finding] = []
        for name in ledger_files(fs, root / log):
            path = root / log / name
            verdict.files += 1
            raw = read_file(fs, path, MAX_FILE_BYTES)
            verdict.read_bytes += len(raw)
            for offset, page in scan_pages(raw):
                if page is None:
                    torn.append(Finding(str(path), offset, "no ledger page that verifies"))
                    continue
                _page(path, raw, offset, page, verdict)
                here = Finding(str(path), offset, "")
                _note(numbers, (page.run, page.epoch), page.number, page.number + 1, here)
                try:
                    _say(says, page)
                    for run, epoch, low, high in _condensed(page):
                        _note(numbers, (int(run, 16), epoch), low, high, here)
                except (KeyError, ValueError, TypeError, AttributeError):
                    verdict.findings.append(Finding(str(path), offset, "a record lacks what its kind must say"))
        _numbers(numbers, torn, verdict)
        verdict.notes += [f"{t.path}: torn ledger page at {t.offset}, never acknowledged" for t in torn]
    return says


def _condensed(page: Page) -> Iterator[tuple[str, int, int, int]]:
    """Numbers of the pages that stand here in fewer words: (run, epoch, first, end)."""
    for record in page.records:
        if record.kind == LedgerKind.CONDENSED:
            yield from record.body["pages"]


def _page(path: Path, raw: bytes, offset: int, page: Page, verdict: Verdict) -> None:
    head_pad = offset + PAGE_HEADER_BYTES - PAGE_PAD
    body_end = offset + PAGE_HEADER_BYTES + int.from_bytes(raw[offset + 12 : offset + 16], "little")
    for low, high in ((head_pad, head_pad + PAGE_PAD), (body_end, offset + page.batch_len)):
        if any(raw[low:high]):
            at = next(i for i, byte in enumerate(raw[low:high]) if byte)
            verdict.findings.append(Finding(str(path), low + at, "padding of a ledger page: not zero"))


_Numbers = dict[int, tuple[int, Finding]]  # of pages: first number, end, where; memory follows files, not numbers


def _note(runs: dict[tuple[int, int], _Numbers], run: tuple[int, int], low: int, high: int, at: Finding) -> None:
    """Pages [low, high) of an opening are here."""
    known = runs.setdefault(run, {})
    if high > known.get(low, (low, at))[0]:
        known[low] = high, at


def _numbers(runs: dict[tuple[int, int], _Numbers], torn: list[Finding], verdict: Verdict) -> None:
    """Pages of an opening (run, epoch) are numbered without hole, over all months (the clock may have been set back): a
    missing one that had been acknowledged is damage. Said where a page before the next one of that opening does not
    verify."""
    for pages in runs.values():
        expected = 0
        for number in sorted(pages):
            missing, (end, after) = number - expected, pages[number]
            expected = max(expected, end)
            if missing > 0:
                before = [t for t in torn if t.path == after.path and t.offset < after.offset]
                at = before[-1] if before else after
                torn[:] = [t for t in torn if t != at]
                verdict.findings.append(Finding(at.path, at.offset, f"{missing} ledger pages are missing or damaged"))


def _say(says: _LedgerSays, page: Page) -> None:
    for record in page.records:
        body = record.body
        if record.kind == LedgerKind.SEGMENT_SEAL:
            ranges = {uuid.UUID(t["track"]): (int(t["first_seq"]), int(t["next_seq"])) for t in body.get("tracks", [])}
            says.names[str(body.get("segment"))] = str(body.get("name"))
            known = says.sealed.get(str(body.get("segment")), (0, {}))[1]  # sealed again it may hold less
            for track, (low, high) in known.items():
                ranges[track] = (low, max(high, ranges.get(track, (low, high))[1]))
            says.sealed[str(body.get("segment"))] = (int(str(body.get("run")), 16), ranges)
        elif record.kind == LedgerKind.REMOVED:
            says.removed.add(str(body.get("segment")))
        elif record.kind == LedgerKind.FORGOTTEN:
            for track in body.get("tracks", []):
                numbers = [(int(run, 16), uuid.UUID(track["track"]), low, high) for run, low, high in track["numbers"]]
                says.holes += numbers
        elif record.kind == LedgerKind.MOVED:
            says.moves.add(record.run, body)
        elif record.kind == LedgerKind.TROUBLE and body.get("code") == NOT_SALVAGED:
            hole = body["params"]
            says.holes.append((record.run, uuid.UUID(hole["track"]), int(hole["first_seq"]), int(hole["next_seq"])))


def _across(results: list[SegmentResult], ledger: _LedgerSays, verdict: Verdict) -> None:
    """The sequence of a track goes on from segment to segment of a run; what was removed is known to the ledger."""
    ranges: dict[
        tuple[int, uuid.UUID], list[tuple[int, bool, int, str]]
    ] = {}  # a misplaced copy after the one it is of
    there = set()
    files = {result.path.name for result in results}
    for result in results:
        if result.header is None:
            continue
        segment = str(result.header.segment)
        there.add(segment)
        if result.misplaced is None and not result.findings:
            _ends(result, ledger.sealed.get(segment, (0, {}))[1], verdict)
        for track, (low, high) in result.sequences.items():
            row = (low, result.misplaced is not None, high, str(result.path))
            ranges.setdefault((result.header.run, track), []).append(row)
    for segment, (run, tracks) in ledger.sealed.items():
        if segment in there:
            continue
        if segment in ledger.removed:
            for track, (low, high) in tracks.items():
                ranges.setdefault((run, track), []).append((low, False, high, ""))
        elif Path(ledger.names[segment]).name not in files:  # else it is there, and found damaged
            what = f"segment {segment} was sealed, is not there, and was not removed by a rule"
            verdict.findings.append(Finding(ledger.names[segment], 0, what))
    for run, track, low, high in ledger.holes:
        ranges.setdefault((run, track), []).append((low, False, high, ""))
    for (run, track), parts in ranges.items():
        expected = 0
        for low, _, high, path in sorted(parts):
            elsewhere = ledger.moves.explains(run, track, expected, low)
            if path and low > expected and not elsewhere and not verdict.findings:
                what = f"track {track} of run {run:016x}: sequence numbers {expected} to {low - 1} are missing"
                verdict.findings.append(Finding(path, 0, what))
            if path and low < expected:
                what = f"track {track} of run {run:016x}: sequence number {low} is there twice"
                verdict.findings.append(Finding(path, 0, what))
            expected = max(expected, high)


def _ends(result: SegmentResult, sealed: dict[uuid.UUID, tuple[int, int]], verdict: Verdict) -> None:
    """A segment that seems whole holds each track as far as it did when it was sealed."""
    for track, (low, high) in sealed.items():
        end = result.sequences.get(track, (low, low))[1]
        if end < high:
            what = f"track {track}: sequence numbers {end} to {high - 1} were sealed here and are not there any more"
            verdict.findings.append(Finding(str(result.path), 0, what))


def verify_export(fs: Fs, manifest: Path) -> Verdict:
    """The files of an export against the SHA-256 and length in its manifest. Raises OSError, and UnsupportedVersion
    for a manifest this program does not know: nothing was checked then."""
    if fs.stat(manifest) is None:
        manifest = manifest_of(manifest)
    verdict = Verdict(files=1)
    try:
        files = listed_files(json.loads(read_file(fs, manifest, 1 << 30)))
    except (ValueError, KeyError, TypeError) as error:
        verdict.findings.append(Finding(str(manifest), 0, f"no manifest of an export: {error!r}"))
        return verdict
    for name, size, digest, samples in files:
        path = manifest.parent / Path(name).name
        status = fs.stat(path)
        if status is None or status.size != size:
            at = 0 if status is None else min(size, status.size)
            there = "is not there" if status is None else f"has {status.size} bytes, not {size}"
            verdict.findings.append(Finding(str(path), at, there))
        elif _sha256(fs, path, size) != digest:
            verdict.findings.append(Finding(str(path), 0, "has another SHA-256 than its manifest names"))
        verdict.files += 1
        verdict.read_bytes += size
        verdict.samples += samples
    return verdict


def _sha256(fs: Fs, path: Path, size: int) -> str:
    digest = hashlib.sha256()
    fd = fs.open_read(path)
    try:
        for offset in range(0, size, 1 << 20):
            digest.update(fs.pread(fd, 1 << 20, offset))
    finally:
        fs.close(fd)
    return digest.hexdigest()
