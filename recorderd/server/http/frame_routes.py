"""frames/{time}.jpg: one picture out of the footage, decoded by a worker process.

Law: this process never decodes. The worker gets the group of pictures up to the wanted one and gives back a JPEG;
how many of these may wait is the pool's bound.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from aiohttp import web

from mediadb.read.reader import Reader
from mediadb.types import Kind, Sample, TrackConfig
from recorderd.core.rights import Right
from recorderd.server.footage import store_of, stream_tracks
from recorderd.server.http.byte_range import NotModified, decide
from recorderd.server.http.frame_cache import FRAMES, Picture, etag_of
from recorderd.server.http.media_routes import STREAM
from recorderd.server.http.routing import API, Answer, Call, Param, Route
from recorderd.server.problems import Refusal
from recorderd.server.timespan import is_absolute, read_time, show_time

MAX_FRAMES = 300  # of one group of pictures; beyond, the picture shown is an earlier one of the group
MAX_BYTES = 16 * 2**20

QUALITY = Param("quality", "count", "JPEG quality", default="85", highest=95)
WIDTH = Param("width", "count", "scale down to this many pixels; never up", highest=3840)


@dataclass(frozen=True, slots=True)
class Group:
    """The samples from a key up to the wanted picture, in decode order."""

    config: TrackConfig
    samples: list[Sample]
    key: str  # names its key chunk for ever

    @property
    def name(self) -> str:
        """Of the wanted picture: the last of the group."""
        return f"{self.key}/{len(self.samples)}"


def read_group(reader: Reader, track: uuid.UUID, time_us: int) -> Group | None:
    """The newest decodable samples at or before `time_us`, or None when there are none. Blocking."""
    key = reader.locate_key(track, time_us)
    if key is None:
        return None
    first = reader.read(key)
    samples = [sample for sample in first.samples if sample.recv_us <= time_us] or first.samples[:1]
    total = sum(len(sample.data) for sample in samples)
    name = f"{track}/{key.segment}/{key.run}/{key.seq}"
    last = key
    for ref in reader.chunks(track, key.recv_us, time_us + 1, (Kind.KEY, Kind.DELTA, Kind.INTRA)):
        if ref.run != key.run or ref.gop != key.gop or ref.seq <= key.seq:
            continue
        if not reader.follows(last, ref):
            break  # what comes behind a missing chunk refers to it
        last = ref
        for sample in reader.read(ref).samples:
            total += len(sample.data)
            if sample.recv_us > time_us or len(samples) >= MAX_FRAMES or total > MAX_BYTES:
                return Group(first.config, samples, name)
            samples.append(sample)
    return Group(first.config, samples, name)


async def frame_jpg(call: Call) -> web.StreamResponse:
    """The newest picture at or before a moment, as JPEG; X-Frame-Time tells its own time.

    The same picture is decoded once for all who ask, and kept for a while; its ETag answers If-None-Match."""
    view = call.camera()
    store = store_of(call.deps, view)
    text, now_us = call.request.match_info["time"], call.deps.clock.utc_us()
    time_us = read_time(text, now_us)
    video, _ = stream_tracks(view, call.text("stream"))
    group = await store.read(read_group, store.reader, video, time_us)
    if group is None:
        raise Refusal("no-footage", f"{view.name} has no picture at or before {show_time(time_us)}")
    name = f"{group.name}/{call.text('quality')}/{call.text('width')}"
    durable_us = await store.read(store.reader.durable_us, video) or 0
    settled = is_absolute(text) and time_us <= durable_us  # no later frame can come before that moment
    headers = {"ETag": etag_of(name), "Cache-Control": "private, max-age=3600" if settled else "private, no-cache"}
    if isinstance(decide(call.request.headers, headers["ETag"], 0), NotModified):
        return web.Response(status=304, headers=headers)
    picture = await call.request.app[FRAMES].get(name, lambda: _decode(call, group))
    headers["X-Frame-Time"] = show_time(picture.time_us) or ""
    return web.Response(body=picture.data, content_type="image/jpeg", headers=headers)


async def _decode(call: Call, group: Group) -> Picture:
    answer = await call.deps.decoder.ask(*_request(group, call))
    if not answer.head.get("ok"):
        error = answer.head.get("error") or {}
        raise Refusal("decode-failed", f"the picture cannot be decoded: {error.get('message')}",
                          reason=error.get("code"))  # fmt: skip
    last = len(group.samples) - 1
    shown = group.samples[min(answer.head.get("index", last), last)]
    return Picture(answer.payload, shown.recv_us)


def _request(group: Group, call: Call) -> tuple[dict[str, object], bytes]:
    """What `recorderd.workers.decode` is asked: the last sample of the group as a picture."""
    head: dict[str, object] = {
        "codec": group.config.codec,
        "entry": group.config.sample_entry,
        "sizes": [len(sample.data) for sample in group.samples],
        "quality": int(call.text("quality")),
        "width": int(call.text("width") or 0),
    }
    return head, b"".join(sample.data for sample in group.samples)


ROUTES = (
    Route(method="GET", path=f"{API}/cameras/{{camera}}/frames/{{time}}.jpg", operation="getFrame", handler=frame_jpg,
          right=Right.VIEW_RECORDED, doc=frame_jpg.__doc__ or "", tag="recorded",
          query=(STREAM, QUALITY, WIDTH), signed=True,
          answer=Answer("image/jpeg", headers=("X-Frame-Time", "ETag")),
          problems=("not-found", "no-footage", "storage-unavailable", "footage-damaged", "footage-reclaimed", "busy",
                    "decode-failed")),
)  # fmt: skip
