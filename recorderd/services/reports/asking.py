"""Coverage of cameras wherever their storage is: the one question that pages, API, reports and the audit ask.

Law: asks the ledger through the store's reader, on its read pool; a storage that is not there is answered with
`storage-error (storage-missing)` for all that it would know: no answer at all helps nobody. Works out no state.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from mediadb.aio import AsyncStore
from mediadb.coverage import unseen
from mediadb.errors import StorageMissing
from mediadb.types import Interval

DAY_US = 86_400_000_000
Stores = Mapping[str, AsyncStore]


async def coverage_of(
    stores: Stores, storage: str, tracks: Sequence[uuid.UUID], span: tuple[int, int], now_us: int
) -> dict[uuid.UUID, list[Interval]]:
    """Per track: every instant of [span) has exactly one state."""
    store = stores.get(storage)
    if store is not None:
        try:
            return await store.read(store.reader.coverage, tracks, *span)
        except StorageMissing:
            pass  # it was let go: said below
    return {track: unseen(storage, *span, now_us) for track in tracks}


async def why_of(
    stores: Stores, storage: str, track: uuid.UUID, time_us: int, now_us: int
) -> tuple[Interval | None, Interval, Interval | None]:
    """The state at an instant, with what was before and what came after it (within a day)."""
    store = stores.get(storage)
    if store is not None:
        try:
            return await store.read(store.reader.why, track, time_us)
        except StorageMissing:
            pass
    found = unseen(storage, time_us - DAY_US, time_us + DAY_US, now_us)
    at = next(i for i, one in enumerate(found) if one.start_us <= time_us < one.end_us)
    return (found[at - 1] if at else None), found[at], (found[at + 1] if at + 1 < len(found) else None)
