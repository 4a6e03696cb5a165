"""Forgetting: what retention removes now and after a reload, what is held back, and the word to go on.

Law: asks the store and shows its plan; decides nothing. Nothing is removed by a question.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from mediadb.aio import AsyncStore
from mediadb.errors import StorageOlder
from mediadb.reclaim.forecast import Outlook
from mediadb.reclaim.plan import Removal
from recorderd.core.rights import Right
from recorderd.server.http.answers import json_answer
from recorderd.server.http.routing import API, Answer, Call, Route
from recorderd.server.problems import Refusal
from recorderd.server.timespan import show_time


async def get_reclaim(call: Call) -> web.StreamResponse:
    """What retention would remove from a storage now, and after a reload of the configuration file; nothing is
    removed. With it how far back footage will reach, of the storage and of each camera."""
    name, store = _store(call)
    names = {view.id: view.name for view in call.deps.engine.cameras()}
    ahead = (await call.deps.limits_ahead()).get(name)
    now = await store.read(store.reclaim.plan)
    after = None if ahead is None else await store.read(store.reclaim.plan, ahead)
    brake = store.reclaim.brake
    return json_answer(
        {
            "storage": name,
            "state": brake.state,
            "reason": brake.reason,
            "way": store.reclaim.way,
            "now": _plan(now, names),
            "after_reload": None if after is None else _plan(after, names),
            "forecast": _forecast(store.outlook(), names),
        }
    )


async def confirm_reclaim(call: Call) -> web.StreamResponse:
    """Let go what is held back: the clock and the limits are right. What is overdue goes from the next step on."""
    name, store = _store(call)
    brake = store.reclaim.brake
    await store.read(store.reclaim.confirm)
    call.deps.events.emit("reclaim-confirmed", params={"storage": name, "reason": brake.reason})
    return json_answer({"storage": name, "state": brake.state, "reason": brake.reason})


async def accept_storage(call: Call) -> web.StreamResponse:
    """Use the disk that is in the storage's place although it is an older copy of the one that was there: what was
    recorded since is not on it. Only while the storage is refused as `storage-older`."""
    name = call.request.match_info["storage"]
    view = next((view for view in call.deps.engine.storages() if view.name == name), None)
    if view is None:
        raise Refusal("not-found", f"there is no storage {name[:100]!r}")
    if view.code != StorageOlder.code:
        now = view.code or view.state
        raise Refusal("conflict", f"the storage {name!r} is not refused as an older copy: {now}")
    await call.deps.accept_storage(name)
    call.deps.events.emit("storage-accepted", params={"storage": name, "path": view.path})
    return json_answer({"storage": name, "state": view.state, "reason": view.code})


def _store(call: Call) -> tuple[str, AsyncStore]:
    name = call.request.match_info["storage"]
    store = call.deps.stores.get(name)
    if store is not None:
        return name, store
    if any(view.name == name for view in call.deps.engine.storages()):
        raise Refusal("storage-unavailable", f"the storage {name!r} is not open; see /api/v1/storages")
    raise Refusal("not-found", f"there is no storage {name[:100]!r}")


def _plan(removals: Sequence[Removal], names: Mapping[uuid.UUID, str]) -> dict[str, Any]:
    parts: dict[tuple[str, str], int] = {}
    for removal in removals:
        sizes = dict(zip(removal.fact.members, removal.fact.sizes, strict=True))
        if removal.rules is None:
            parts[("", removal.rule)] = parts.get(("", removal.rule), 0) + removal.freed_bytes
        for member, size in sizes.items() if removal.rules is not None else ():
            rule = removal.rules.get(member.track) if removal.rules is not None else None
            if rule is not None:
                key = (names.get(member.camera, str(member.camera)), rule)
                parts[key] = parts.get(key, 0) + size
    return {
        "segments": len(removals),
        "bytes": sum(removal.freed_bytes for removal in removals),
        "until": show_time(max((removal.fact.end_us for removal in removals), default=None)),
        "parts": [{"camera": camera, "rule": rule, "bytes": size} for (camera, rule), size in sorted(parts.items())],
    }


def _forecast(outlook: Outlook, names: Mapping[uuid.UUID, str]) -> dict[str, Any]:
    cameras = [
        {
            "camera": names.get(id, str(id)),
            "rate_bytes_s": camera.rate_bytes_s,
            "kept_us": camera.kept_us,
            "wanted_us": camera.wanted_us,
            "short": camera.short,
        }
        for id, camera in outlook.cameras.items()
    ]
    return {
        "rate_bytes_s": outlook.rate_bytes_s,
        "kept_us": outlook.kept_us,
        "full_us": outlook.full_us,
        "cameras": sorted(cameras, key=lambda one: str(one["camera"])),
    }


ROUTES = (
    Route(
        method="GET", path=f"{API}/storages/{{storage}}/reclaim", operation="getReclaim", handler=get_reclaim,
        right=Right.READ_CONFIG, doc=get_reclaim.__doc__ or "", answer=Answer(schema="Reclaim"),
        problems=("not-found", "storage-unavailable"),
    ),
    Route(
        method="POST", path=f"{API}/storages/{{storage}}/reclaim", operation="confirmReclaim", handler=confirm_reclaim,
        right=Right.ADMINISTER, doc=confirm_reclaim.__doc__ or "", answer=Answer(schema="ReclaimConfirmed"),
        problems=("not-found", "storage-unavailable"),
    ),
    Route(
        method="POST", path=f"{API}/storages/{{storage}}/accept", operation="acceptStorage", handler=accept_storage,
        right=Right.ADMINISTER, doc=accept_storage.__doc__ or "", answer=Answer(schema="StorageAccepted"),
        problems=("not-found", "conflict"),
    ),
)  # fmt: skip
