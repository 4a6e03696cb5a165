"""What fsck finds, in words: what it means, what was lost, what a repair does.

Law: values only, and the one way to put a file aside. Used by `mediadb.tools.fsck*` only. A finding without `deed`
cannot be put right here; its `repair` says what else to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.errors import MediaDbError
from mediadb.fs import Fs

QUARANTINE: Final = "quarantine"
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `code` is stable; `lost` says which footage or knowledge went; `repair` what --repair does, or what
    to do by hand. `deed` does it and may raise OSError or MediaDbError; None when fsck cannot."""

    code: str
    path: Path
    what: str
    lost: str
    repair: str
    deed: Callable[[], None] | None = None
    unfinished: bool = False  # what a running daemon does by itself

    @property
    def key(self) -> tuple[str, str]:
        return self.code, str(self.path)

    @property
    def text(self) -> str:
        return f"{self.path}: {self.what}; lost: {self.lost}"

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {
            "code": self.code, "path": str(self.path), "what": self.what, "lost": self.lost, "repair": self.repair,
            "repairable": self.deed is not None,
        }  # fmt: skip


@dataclass(slots=True)
class FsckReport:
    """`problems` were found; `repaired` are those put right; `left` remain and say what to do; `notes` are no
    problems; `quarantined` counts files put aside, now and before."""

    problems: list[Problem] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quarantined: int = 0

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {
            "problems": [problem.record() for problem in self.problems], "repaired": self.repaired, "left": self.left,
            "notes": self.notes, "quarantined": self.quarantined,
        }  # fmt: skip


def settle(
    report: FsckReport,
    look: Callable[[], list[Problem]],
    *,
    repair: bool,
    held: Callable[[], str | None],
    after: Callable[[], None] | None = None,
) -> None:
    """Look, repair when told, look again. `held()` says why nothing may be touched now, None when it may: it is asked
    before the first deed. `after` is done once behind all deeds."""
    found = look()
    if not found:
        return
    refused = held() if repair or any(problem.unfinished for problem in found) else None
    if refused is not None:
        report.notes += [f"{p.path}: {p.what}: {refused}, its daemon finishes that" for p in found if p.unfinished]
        found = [problem for problem in found if not problem.unfinished]
    report.problems += found
    able = [problem for problem in found if problem.deed is not None]
    if not repair or refused is not None or not able:
        report.left += [_advice(problem, refused) for problem in found]
        return
    failures = {problem.key: words for problem in able if (words := _do(problem.deed)) is not None}
    failed = _do(after)
    still = look()
    there = {problem.key for problem in still}
    report.repaired += [f"{p.path}: {p.what}: {p.repair}" for p in found if p.key not in there]
    report.left += [_advice(problem, failures.get(problem.key, failed)) for problem in still]


def _do(deed: Callable[[], None] | None) -> str | None:
    """Do it; what went wrong in words."""
    try:
        if deed is not None:
            deed()
    except OSError as error:
        return f"the repair failed ({error.strerror}); look at the disk"
    except MediaDbError as error:
        return f"the repair failed ({error.message})"
    return None


def _advice(problem: Problem, why: str | None) -> str:
    if problem.deed is None:
        return f"{problem.text}; {problem.repair}"
    return f"{problem.text}; {why or f'run mediadb fsck --repair: {problem.repair}'}"


def put_aside(fs: Fs, volume: Path, path: Path) -> Path:
    """Move a file into the volume's quarantine, under the path it had; returns its new place. Nothing is deleted."""
    target = volume / QUARANTINE / path.relative_to(volume)
    number = 0
    while fs.stat(target) is not None:
        number += 1
        target = target.with_name(f"{path.name}.{number}")
    fs.mkdirs(target.parent)
    fs.rename(path, target)
    fs.fsync_dir(target.parent)
    fs.fsync_dir(path.parent)
    return target


def count_aside(fs: Fs, volume: Path) -> int:
    """Files in the quarantine."""
    waiting, count = [volume / QUARANTINE], 0
    while waiting:
        folder = waiting.pop()
        for name in fs.listdir(folder):
            status = fs.stat(folder / name)
            if status is not None and status.is_dir:
                waiting.append(folder / name)
            else:
                count += 1
    return count
