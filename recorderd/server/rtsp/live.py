"""Live over RTSP: one stream of one camera to one viewer.

Law: one hub subscription per viewer. What waits for a viewer is bounded (`LIMIT_BYTES` in the hub, `BATCH_BYTES` and
the socket's buffer here); the hub skips a slow one to a key and drops it, recording and other viewers never wait.
Called by the mount table.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recorderd.aio.supervisor import Supervisor
from recorderd.core.errors import NotFoundError
from recorderd.core.rights import LOCAL, Right
from recorderd.engine.live import Item, LiveHub, LiveSubscription
from recorderd.engine.views import CameraView
from recorderd.media.access_unit import AccessUnit, CodecConfig, MediaKind
from recorderd.rtspserver.later import Later
from recorderd.rtspserver.mount import FirstPacket, PlayStart, Presentation, Track, ViewerOutlet
from recorderd.rtspserver.statuses import Refused
from recorderd.rtspserver.wishes import PlayWish
from recorderd.server.rtsp.formats import sdp_tracks
from recorderd.server.rtsp.sender import TrackSender, Traffic
from recorderd.server.rtsp.timing import CameraOffset, LiveClock
from recorderd.wire.pay import PAYABLE

LIMIT_BYTES = 6 * 2**20
BATCH_BYTES = 256 * 1024
REPORT_US = 5_000_000
STUCK_S = 20.0
LEARN_S = 5.0  # how long DESCRIBE waits for the first key of a camera that is just coming
SOUND_S = 1.0  # and after it for sound that the camera is known to have
NOT_ANNOUNCED = "not-announced"  # of a track that there was once


@dataclass(frozen=True, slots=True)
class LiveParts:
    """What all live mounts share. `look` gives a camera as it is now; it raises NotFoundError."""

    hub: LiveHub
    look: Callable[[str], CameraView]
    tree: Supervisor
    formats: LiveFormats
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What the URL asks for; `kinds` beside the picture."""

    view: CameraView
    role: str
    kinds: frozenset[MediaKind]


class LiveFormats:
    """How live streams are coded, as far as it was seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, str, MediaKind], CodecConfig] = {}

    def see(self, request: LiveRequest, kind: MediaKind, config: CodecConfig) -> None:
        self._known[request.view.id, request.role, kind] = config

    def take(self, request: LiveRequest, items: Sequence[Item]) -> dict[MediaKind, CodecConfig]:
        """Remember what these units are coded as; gives what is known of a stream whose video was seen now."""
        for kind, unit in items:
            self.see(request, kind, unit.config)
        fresh = any(kind is MediaKind.VIDEO for kind, _ in items)
        known = {kind: self._known.get((request.view.id, request.role, kind)) for kind in MediaKind}
        return {kind: config for kind, config in known.items() if config is not None} if fresh else {}


class LiveMount:
    """Implements `rtspserver.mount.Mount`; one per connection and address."""

    def __init__(self, request: LiveRequest, parts: LiveParts) -> None:
        self.request = request
        self.parts = parts
        self.tracks: tuple[Track, ...] = ()

    def admits(self, user: str) -> bool:
        LOCAL.require(Right.VIEW_LIVE, self.request.view.id)
        return True

    def visit(self, outlet: ViewerOutlet) -> LiveVisit:
        return LiveVisit(self, outlet)

    def subscribe(self, notify: Callable[[], None] | None = None) -> LiveSubscription:
        """Raises Refused (404) when the stream is gone by now."""
        request = self.request
        try:
            return self.parts.hub.subscribe(
                request.view.id, request.role, audio=MediaKind.AUDIO in request.kinds, limit_bytes=LIMIT_BYTES,
                metadata=MediaKind.METADATA in request.kinds, notify=notify,
            )  # fmt: skip
        except NotFoundError:
            raise Refused(404) from None

    def presentation(self) -> Presentation | Later[Presentation]:
        """At once when the stream runs; else after a while, or 503 when the camera stays away."""
        subscription = self.subscribe()
        found = self.parts.formats.take(self.request, subscription.take_ready())
        if self._is_complete(found):
            subscription.close()
            return self._present(found)
        answer: Later[Presentation] = Later()
        self.parts.tree.start("rtsp describe", self._learn(subscription, answer))
        return answer

    async def _learn(self, subscription: LiveSubscription, answer: Later[Presentation]) -> None:
        found: dict[MediaKind, CodecConfig] = {}
        try:
            async with asyncio.timeout(LEARN_S) as patience:
                async for item in subscription:
                    now = self.parts.formats.take(self.request, [item])
                    if now and not found:
                        patience.reschedule(asyncio.get_running_loop().time() + SOUND_S)
                    found = now or found
                    if self._is_complete(found):
                        break
        except TimeoutError:
            pass  # what was found is what there is
        finally:
            subscription.close()
        if MediaKind.VIDEO in found:
            answer.resolve(self._present(found))
        else:
            answer.refuse(Refused(503, ("Retry-After", "5")))

    def _is_complete(self, found: dict[MediaKind, CodecConfig]) -> bool:
        """Is everything known that was asked for and that the camera has? A camera that is just coming has announced
        its sound before the first of it arrived."""
        try:
            streams = self.parts.look(str(self.request.view.id)).streams
        except NotFoundError:
            streams = ()
        there = {
            track.kind
            for stream in streams
            if stream.role == self.request.role
            for track in stream.tracks
            if track.codec or track.reason != NOT_ANNOUNCED
        }
        return MediaKind.VIDEO in found and all(kind in found for kind in self.request.kinds if str(kind) in there)

    def _present(self, found: dict[MediaKind, CodecConfig]) -> Presentation:
        kinds = [kind for kind in MediaKind if kind is MediaKind.VIDEO or kind in self.request.kinds]
        configs = [found[kind] for kind in kinds if kind in found and found[kind].codec in PAYABLE]
        if not configs:
            raise Refused(503)
        self.tracks = sdp_tracks(configs)
        return Presentation(self.tracks)


class LiveVisit:
    """Implements `rtspserver.mount.Visit`."""

    def __init__(self, mount: LiveMount, outlet: ViewerOutlet) -> None:
        self._mount = mount
        self._outlet = outlet
        self._senders: dict[MediaKind, TrackSender] = {}
        self._clocks: dict[MediaKind, LiveClock] = {}
        self._offset = CameraOffset()
        self._origin_us: int | None = None
        self._playing: LiveSubscription | None = None
        self._task: asyncio.Task[None] | None = None

    def play(self, wish: PlayWish) -> PlayStart:
        """From the newest key on, whatever was asked: a live stream has no other place (457 for a clock range)."""
        self._leave()
        if wish.range is not None and wish.range.unit == "clock":
            raise Refused(457)
        subscription = self._mount.subscribe(self._told)
        ready = subscription.take_ready()
        first = []
        self._origin_us = None
        for number, track in enumerate(self._mount.tracks):
            if number not in wish.tracks:
                continue
            kind, base = track.config.kind, secrets.randbits(32)
            self._senders[kind] = TrackSender(number, track, f"recorderd-{self._mount.request.view.id}")
            self._clocks[kind] = LiveClock(track.config.timebase_hz, base)
            first.append(FirstPacket(number, self._senders[kind].seq & 0xFFFF, base))
        units = [unit for kind, unit in ready if kind in self._senders]
        if units:
            self._origin_us = self._offset.wall_us(units[0])
        self._playing = subscription
        self._task = self._mount.parts.tree.start("rtsp live", self._pump(subscription, ready))
        return PlayStart(self._origin_us, tuple(first), scale=None if wish.scale is None else 1.0)

    def pause(self) -> int | None:
        self._leave()
        return None

    def stop(self) -> None:
        self._leave()

    def auth_failed(self) -> None:
        """Counted by the server as a 401."""

    def receiver_report(self, track: int, data: bytes) -> None:
        """Kept the session alive, which is all it is good for here."""

    def closed(self, cause: str) -> None:
        self._leave()

    def _told(self) -> None:
        """The hub gave up on this viewer: it may be waiting for the socket, which will take nothing more."""
        if self._playing is not None and self._playing.reason == "too-slow":
            self._outlet.drop("too-slow")

    def _leave(self) -> None:
        if self._playing is not None:
            self._playing.close()
            self._playing = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._senders.clear()
        self._clocks.clear()

    async def _pump(self, subscription: LiveSubscription, ready: list[Item]) -> None:
        try:
            for start in range(0, len(ready), 32):
                await self._deliver(ready[start : start + 32])
            async for item in subscription:
                items, size = [item], len(item[1].data)
                while size < BATCH_BYTES and (following := subscription.pop()) is not None:
                    items.append(following)
                    size += len(following[1].data)
                await self._deliver(items)
        except TimeoutError:
            self._outlet.drop("too-slow")
            return
        except Exception:  # told by the supervisor; the viewer would wait for ever
            self._outlet.close()
            raise
        finally:
            subscription.close()
        if subscription.reason not in ("unsubscribed", "too-slow"):
            self._say_goodbye()

    async def _deliver(self, items: Sequence[Item]) -> None:
        """Send, then wait until the viewer took most of it. Raises TimeoutError when it takes nothing."""
        parts = b"".join([self._packets(kind, unit) for kind, unit in items if kind in self._senders])
        if parts:
            self._outlet.send([parts])
            self._mount.parts.traffic.bytes += len(parts)
            async with asyncio.timeout(STUCK_S):
                await self._outlet.drain()

    def _packets(self, kind: MediaKind, unit: AccessUnit) -> bytes:
        sender = self._senders.get(kind)
        if sender is None:
            return b""
        if unit.config is not sender.config:
            if not sender.fits(unit.config):
                self._say_goodbye()  # another codec: the viewer's description is void, it must ask for a new one
                return b""
            sender.config = unit.config
            self._mount.parts.formats.see(self._mount.request, kind, unit.config)
        wall_us = self._offset.wall_us(unit)
        if self._origin_us is None:
            self._origin_us = wall_us
        rtp, shown_us = self._clocks[kind].stamp(unit.pts, wall_us, self._origin_us, unit.discontinuity)
        report = sender.report(shown_us, rtp, REPORT_US)
        return report + sender.unit(unit.config, unit.data, rtp, key=unit.is_key)

    def _say_goodbye(self) -> None:
        """RTCP BYE on every track, then the connection ends."""
        senders, self._senders = self._senders, {}
        self._outlet.send([sender.bye() for sender in senders.values()])
        self._outlet.close()
