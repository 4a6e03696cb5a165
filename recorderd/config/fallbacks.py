"""Which storage stands in for which, and what cannot be.

Law: findings only; nothing is opened. One step, never a chain: a storage that stands in for another has nobody to
stand in for itself, so that where footage went is said in one word. Called by `config.load`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from recorderd.config.findings import Findings, Place
from recorderd.config.patience import ask
from recorderd.config.schema import StorageConfig


def check_fallbacks(storages: Sequence[tuple[Place, StorageConfig]], findings: Findings) -> None:
    """Report a `fallback` that is not there, is the storage itself, has one of its own, or lies on the same disk."""
    by_name = {storage.name: storage for _, storage in storages}
    for place, storage in storages:
        if not storage.fallback:
            continue
        other = by_name.get(storage.fallback)
        key = place / "fallback"
        if other is None:
            findings.error(key, f"there is no storage {storage.fallback!r}; there: {', '.join(sorted(by_name))}")
        elif other.name == storage.name:
            findings.error(key, "is the storage itself: name another one")
        elif other.fallback:
            findings.error(key, f"{other.name!r} has a fallback itself: only one of the two can stand in for the other")
        elif _device(storage.path) is not None and _device(storage.path) == _device(other.path):
            findings.warn(key, f"{other.name!r} lies on the same disk: when that fails, both do")


def _device(path: Path) -> int | None:
    try:
        return ask(lambda: os.stat(path).st_dev, None)
    except OSError:
        return None  # not there at present
