"""One damaged volume out of a healthy one: which file, what was done to it, and whether its checksums hold again.

Law: all chance comes from the seed. Half of the changes are to bytes whatever they mean, half to a number of a
structure whose checksums are then made right, so that the checks behind the CRC are met.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tests.mutate.sample import Volume
from tests.mutate.shapes import Shape, log_shape, pages_shape, segment_shape, volume_shape

PAGE = 4096
HUGE = 3 << 20
KINDS = ("segment", "directory", "footer", "gone", "log", "volume", "ledger", "catalog")


@dataclass(frozen=True)
class Mutation:
    """`content` is None when the file was deleted. `sealed`: its checksums were made right again."""

    kind: str
    path: Path
    what: str
    content: bytes | None
    sealed: bool = False


def mutate(volume: Volume, kind: str, rng: random.Random) -> Mutation:
    """A mutation of one file of that kind."""
    path = rng.choice(_files(volume, kind))
    raw = volume.files[path]
    if rng.random() < 0.45:
        structures = _shape(kind, raw).structures[kind]
        changed = bytearray(raw)
        structure = rng.choice(structures)
        what = structure.change(rng, changed)
        structure.seal(changed)
        if rng.random() < 0.2:
            other = rng.choice(structures)
            what += "; " + other.change(rng, changed)
            other.seal(changed)
            structure.seal(changed)
        return Mutation(kind, path, what, bytes(changed), sealed=True)
    name, change = rng.choice(WAYS)
    data = change(rng, volume, path, _area(kind, raw, rng))
    return Mutation(kind, path, name, data)


def _files(volume: Volume, kind: str) -> list[Path]:
    fits: dict[str, Callable[[Path], bool]] = {
        "segment": lambda path: path.suffix in (".rseg", ".open"),
        "directory": lambda path: path.suffix in (".rseg", ".open"),
        "footer": lambda path: path.suffix == ".rseg",
        "gone": lambda path: path.suffix == ".gone",
        "log": lambda path: path.name == "LOG",
        "volume": lambda path: path.name == "VOLUME",
        "ledger": lambda path: "ledger" in path.parts,
    }
    return sorted(path for path in volume.files if fits[kind](path))


@lru_cache(64)
def _shape(kind: str, raw: bytes) -> Shape:
    if kind in ("ledger", "gone"):
        return pages_shape(raw, kind)
    return {"log": log_shape, "volume": volume_shape}.get(kind, segment_shape)(raw)


def _area(kind: str, raw: bytes, rng: random.Random) -> tuple[int, int]:
    areas = _shape(kind, raw).areas[kind]
    return rng.choice(areas) if areas else (0, len(raw))


# -- ways to damage bytes: (rng, volume, path, area) -> content ------------------------------------------------------


def _flip(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = bytearray(volume.files[path])
    for _ in range(rng.choice((1, 1, 1, 4))):
        raw[rng.randrange(*area)] ^= 1 << rng.randrange(8)
    return bytes(raw)


def _fill(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = bytearray(volume.files[path])
    at = rng.randrange(*area)
    if rng.random() < 0.5:
        at &= -PAGE
    length = min(rng.choice((1, 4, 16, 64, 512, PAGE, 3 * PAGE)), len(raw) - at)
    raw[at : at + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return bytes(raw)


def _cut(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    at = rng.randrange(*area)
    return volume.files[path][: at & -PAGE if rng.random() < 0.4 else at]


def _extend(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = volume.files[path]
    more = rng.choice((1, 64, PAGE, 3 * PAGE))
    return raw + rng.choice((bytes(more), rng.randbytes(more), raw[-more:], raw))


def _swap(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = volume.files[path]
    pages = [raw[at : at + PAGE] for at in range(0, len(raw), PAGE)]
    a, b = rng.randrange(len(pages)), rng.randrange(len(pages))
    pages[a], pages[b] = pages[b], pages[a]
    return b"".join(pages)


def _duplicate(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = volume.files[path]
    pages = [raw[at : at + PAGE] for at in range(0, len(raw), PAGE)]
    a, b = rng.randrange(len(pages)), rng.randrange(len(pages))
    if rng.random() < 0.5:
        pages.insert(b, pages[a])
    else:
        pages[b] = pages[a]
    return b"".join(pages)


def _drop_page(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw = volume.files[path]
    at = rng.randrange(len(raw)) & -PAGE
    return raw[:at] + raw[at + PAGE :]


def _stale(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    return volume.older.get(path, volume.files[path][:PAGE])


def _other_file(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    return volume.files[rng.choice(sorted(volume.files))]


def _other_page(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    raw, other = volume.files[path], volume.files[rng.choice(sorted(volume.files))]
    at = rng.randrange(len(raw)) & -PAGE
    return raw[:at] + other[at : at + PAGE] + raw[at + PAGE :]


def _empty(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    return b""


def _delete(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> None:
    return None


def _huge(rng: random.Random, volume: Volume, path: Path, area: tuple[int, int]) -> bytes:
    if rng.random() < 0.8:  # dear to read: seldom
        return _flip(rng, volume, path, area)
    raw = volume.files[path]
    return raw + rng.choice((bytes(HUGE), (raw * (HUGE // len(raw) + 1))[:HUGE]))


Way = Callable[[random.Random, Volume, Path, tuple[int, int]], bytes | None]
WAYS: tuple[tuple[str, Way], ...] = (
    ("flip", _flip), ("flip", _flip), ("flip", _flip), ("fill", _fill), ("fill", _fill), ("cut", _cut),
    ("extend", _extend), ("swap", _swap), ("duplicate", _duplicate), ("drop page", _drop_page), ("stale", _stale),
    ("other file", _other_file), ("other page", _other_page), ("empty", _empty), ("delete", _delete), ("huge", _huge),
)  # fmt: skip
