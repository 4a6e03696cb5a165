"""The addresses of RTSP out: /live/CAMERA and /recorded/CAMERA with their queries.

Law: from texts to mounts; media are the visits' business. Every mount declares the right it needs. An address that
names nothing is None (404), a query that cannot be meant is refused with 400.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from mediadb.types import TrackKind
from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import NotFoundError, RecorderdError
from recorderd.engine.stream import track_id
from recorderd.engine.views import CameraView
from recorderd.rtspserver.mount import Mount
from recorderd.rtspserver.statuses import Refused
from recorderd.server.deps import ServerDeps
from recorderd.server.rtsp.formats import MEDIA_KINDS
from recorderd.server.rtsp.live import LiveFormats, LiveMount, LiveParts, LiveRequest
from recorderd.server.rtsp.recorded import RecordedMount
from recorderd.server.rtsp.recorded_request import RecordedRequest
from recorderd.server.rtsp.sender import Traffic
from recorderd.server.timespan import read_time
from recorderd.services.playback.types import Gaps

_PATH = re.compile(r"/(live|recorded)/([^/]{1,200})")
_LIVE_QUERY = frozenset({"stream", "audio", "metadata"})
_RECORDED_QUERY = frozenset({"stream", "audio", "metadata", "start", "end", "gaps"})
_GAPS: dict[str, Gaps] = {"skip": "skip", "keep": "keep"}
_SWITCH = {"0": False, "1": True}


class OutMounts:
    """Implements `rtspserver.mount.Mounts`."""

    def __init__(self, deps: ServerDeps, tree: Supervisor) -> None:
        self._deps = deps
        self._tree = tree
        self.traffic = Traffic()
        self._live = LiveParts(deps.engine.live, deps.engine.camera, tree, LiveFormats(), self.traffic)

    def find(self, path: str, query: str) -> Mount | None:
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        try:
            view = self._deps.engine.camera(found[2])
        except NotFoundError:
            return None
        if found[1] == "live":
            values = _read_query(query, _LIVE_QUERY)
            role = _role(view, values)
            if role is None:
                return None
            kinds = frozenset(MEDIA_KINDS[kind] for kind in _kinds(values)[1:])
            return LiveMount(LiveRequest(view, role, kinds), self._live)
        return self._recorded(view, _read_query(query, _RECORDED_QUERY))

    def _recorded(self, view: CameraView, values: dict[str, str]) -> Mount | None:
        role = _role(view, values)
        if role is None:
            return None
        store = self._deps.stores.get(view.storage)
        if store is None:
            raise Refused(503)
        now_us = self._deps.clock.utc_us()
        try:
            start_us, end_us = (
                read_time(values[name], now_us, name) if name in values else None for name in ("start", "end")
            )
        except RecorderdError:
            raise Refused(400) from None
        if start_us is not None and end_us is not None and start_us >= end_us:
            raise Refused(400)
        gaps = _GAPS.get(values.get("gaps", "skip"))
        if gaps is None:
            raise Refused(400)
        tracks = tuple((track_id(view.id, role, kind), kind) for kind in _kinds(values))
        request = RecordedRequest(view, store, tracks, start_us, end_us, gaps)
        return RecordedMount(request, self._tree, self._deps.clock, self.traffic)


def _read_query(query: str, known: frozenset[str]) -> dict[str, str]:
    """Raises Refused (400) for what is not known or comes twice."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=10) if query else []
    values = dict(pairs)
    if len(values) != len(pairs) or not values.keys() <= known:
        raise Refused(400)
    return values


def _role(view: CameraView, values: dict[str, str]) -> str | None:
    role = values.get("stream", "main")
    return role if role in {stream.role for stream in view.streams} else None


def _kinds(values: dict[str, str]) -> list[TrackKind]:
    """Which tracks are wanted, the picture first. Raises Refused (400)."""
    kinds = [TrackKind.VIDEO]
    for name, kind, default in (("audio", TrackKind.AUDIO, "1"), ("metadata", TrackKind.METADATA, "0")):
        text = values.get(name, default)
        if text not in _SWITCH:
            raise Refused(400)
        if _SWITCH[text]:
            kinds.append(kind)
    return kinds
