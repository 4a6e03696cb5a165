"""The farm as a mount table: /cam/N and /cam/N?stream=sub, one visit per connection, one log line per connection.

Law: joins cameras to the RTSP server and keeps the books; media is the feeds' business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from urllib.parse import parse_qs

from recorderd.core.clock import Clock
from recorderd.rtspserver.mount import HangUp, Mount, Outlet, PlayStart, Presentation, Track, Visit
from recorderd.rtspserver.wishes import PlayWish
from recorderd.simulate.camera import Camera, CameraStream
from recorderd.simulate.feed import Feed
from recorderd.simulate.scheduler import Scheduler
from recorderd.simulate.tally import Tally

MAIN, SUB = "main", "sub"
_PATH = re.compile(r"/cam/(\d{1,6})", re.ASCII)
_ENDS = {"hang-up": "reboot"}


@dataclass(frozen=True, slots=True)
class FarmParts:
    """What every visit needs. `log` takes one record per connection."""

    clock: Clock
    scheduler: Scheduler
    seed: str
    log: Callable[[dict[str, object]], None]


class FarmMounts:
    """All cameras with all streams."""

    def __init__(self, cameras: Sequence[Camera], streams: Mapping[str, CameraStream], parts: FarmParts) -> None:
        self._parts = parts
        self._cameras = cameras
        self._mounts = {
            (camera.id, name): CameraMount(camera, stream, parts)
            for camera in cameras
            for name, stream in streams.items()
        }

    def find(self, path: str, query: str) -> Mount | None:
        found = _PATH.fullmatch(path)
        stream = parse_qs(query).get("stream", [MAIN])[0]
        mount = self._mounts.get((int(found[1]), stream)) if found else None
        if mount is not None and mount.is_down(self._parts.clock.monotonic_us()):
            raise HangUp
        return mount

    def totals(self) -> list[dict[str, object]]:
        """Per camera, over all connections that have ended."""
        keys = ("connections", "sent", "dropped", "auth_failures", "lost_packets", "audio_sent")
        return [{"camera": camera.id, **{key: camera.totals[key] for key in keys}} for camera in self._cameras]


class CameraMount:
    """One stream of one camera."""

    def __init__(self, camera: Camera, stream: CameraStream, parts: FarmParts) -> None:
        self.camera = camera
        self.stream = stream
        self.parts = parts
        self._visits = count()

    def is_down(self, now_us: int) -> bool:
        return self.camera.faults.down(self.camera.since_play_us(now_us))

    def presentation(self) -> Presentation:
        since_us = self.camera.since_play_us(self.parts.clock.monotonic_us())
        video = self.stream.video
        if self.stream.variant is not None and self.camera.faults.changed_params(since_us):
            video = self.stream.variant
        tracks = [Track(video.clip.config, video.track.payload_type, video.track.ssrc)]
        if self.stream.audio is not None:
            rtp = self.stream.audio.track
            tracks.append(Track(self.stream.audio.clip.config, rtp.payload_type, rtp.ssrc))
        told = self.stream.told
        if told is not None:
            tracks.append(Track(told.config, told.track.payload_type, told.track.ssrc))
        return Presentation(tuple(tracks))

    def admits(self, user: str) -> bool:
        return not self.camera.faults.auth

    def visit(self, outlet: Outlet) -> Visit:
        seed = f"{self.parts.seed}/{self.camera.id}/{self.stream.name}/{next(self._visits)}"
        return CameraVisit(self, outlet, seed)


class CameraVisit:
    """One connection that looked at a camera's stream."""

    def __init__(self, mount: CameraMount, outlet: Outlet, seed: str) -> None:
        self._mount = mount
        self._outlet = outlet
        self._seed = seed
        self._feed: Feed | None = None
        self._auth_failures = 0
        self._recorded = False

    def play(self, wish: PlayWish) -> PlayStart:
        if self._feed is not None:
            self._record("play")  # again, with another wish: the same pictures, counted apart
        camera, parts = self._mount.camera, self._mount.parts
        now_us = parts.clock.monotonic_us()
        if camera.first_play_us is None:
            camera.first_play_us = now_us
        feed = Feed(camera, self._mount.stream, self._outlet, wish.tracks)
        start = feed.start(now_us, self._seed)
        self._feed = feed
        parts.scheduler.add(feed)
        return start

    def pause(self) -> None:
        self._record("pause")

    def stop(self) -> None:
        self._record("teardown")

    def auth_failed(self) -> None:
        self._auth_failures += 1

    def receiver_report(self, track: int, data: bytes) -> None:
        if self._feed is not None:
            self._feed.tally.receiver_reports += 1

    def closed(self, cause: str) -> None:
        camera = self._mount.camera
        if self._feed is not None or self._auth_failures or not self._recorded:
            since_us = camera.since_play_us(self._mount.parts.clock.monotonic_us())
            stalled = self._feed is not None and camera.faults.stalled(since_us)
            self._record("stall" if stalled and cause == "closed" else _ENDS.get(cause, cause))

    def _record(self, end: str) -> None:
        """Close the books on what was played since the last record."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.ended = True
        tally = feed.tally if feed is not None else Tally()
        camera = self._mount.camera
        head = {"camera": camera.id, "stream": self._mount.stream.name}
        tail = {"auth_failures": self._auth_failures, "end": end, "faults": camera.faults.as_json()}
        self._mount.parts.log({**head, **tally.as_json(), **tail, "seed": self._mount.parts.seed})
        camera.totals += Counter(
            connections=1,
            sent=tally.sent,
            dropped=tally.dropped,
            auth_failures=self._auth_failures,
            lost_packets=tally.lost_packets,
            audio_sent=tally.audio_sent,
        )
        self._auth_failures = 0
        self._recorded = True
