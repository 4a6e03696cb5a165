"""Metadata as a track: recorded by arrival, explained when there is nothing, never an alarm, given to who asks."""

from __future__ import annotations

import itertools
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import VIDEO, FakeStore, FakeTrackCommit, FakeWriter, Units

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.types import Names, State, TrackKind
from recorderd.core.clock import FakeClock
from recorderd.daemon.engine_store import EngineStore
from recorderd.driverapi.base import StreamRequest
from recorderd.engine.stream import StreamParts, StreamRecorder, track_id
from recorderd.media import metadata
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

pytestmark = pytest.mark.fast

CAMERA, HARDWARE = uuid.uuid4(), uuid.uuid4()
CONFIG = metadata.codec_config(metadata.XML)


class Bench:
    def __init__(self, wanted: bool = True, store: Any = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = store or FakeStore()
        self.events: list[tuple[str, dict[str, object]]] = []
        request = StreamRequest(metadata=wanted)
        parts = StreamParts(
            CAMERA,
            HARDWARE,
            Names("cam", "hw"),
            self.store,
            self.clock,
            self._emit,
            request,
            True,  # type: ignore[arg-type]
        )
        self.stream = StreamRecorder(parts, 0)
        self.stream.record(True, 0)
        self.stream.opened()
        self.stream.event("tracks", {"kinds": ["video", "metadata"]})
        self.units = Units(self.clock, VIDEO)  # type: ignore[arg-type]

    def _emit(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, params))

    @property
    def writer(self) -> FakeWriter:
        return self.store.writers[track_id(CAMERA, "main", TrackKind.METADATA)]

    def tell(self, number: int, pts: int = 0, **values: object) -> AccessUnit:
        """A document whose RTP time means nothing."""
        unit = AccessUnit(
            b"<MetadataStream>%d</MetadataStream>" % number, pts, pts, UnitType.AUDIO, self.clock.utc_us(),
            self.clock.monotonic_us(), CONFIG, **values,  # type: ignore[arg-type]
        )  # fmt: skip
        self.stream.unit(MediaKind.METADATA, unit)
        return unit

    def seconds(self, count: int) -> None:
        for _ in range(count):
            for _ in range(25):
                self.stream.unit(MediaKind.VIDEO, self.units.next())
                self.clock.advance(40_000)
            self.stream.video.committed(FakeTrackCommit(25, 100, self.clock.utc_us()))
            self.stream.tick(self.clock.monotonic_us())


def test_documents_are_stored_in_the_time_of_their_arrival() -> None:
    bench = Bench()
    sent = []
    for number, pts in enumerate((5, 5, 4_000_000_000, 7)):
        sent.append(bench.tell(number, pts, lost_packets=number == 2))
        bench.seconds(1)
    samples = bench.writer.samples
    assert [sample.data for sample in samples] == [unit.data for unit in sent]
    assert all(sample.data is unit.data for sample, unit in zip(samples, sent, strict=True))
    assert {b.dts - a.dts for a, b in itertools.pairwise(samples)} == {90_000}
    assert [sample.lost_packets for sample in samples] == [0, 0, 1, 0]
    assert not any(sample.discontinuity for sample in samples)
    assert bench.writer.configs[0].sample_entry[4:8] == b"mett"
    assert b"application/vnd.onvif.metadata\x00" in bench.writer.configs[0].sample_entry
    assert bench.writer.states[-1] == (State.RECORDED, "")


def test_silence_is_said_in_the_ledger_and_is_no_alarm() -> None:
    bench = Bench()
    bench.tell(1)
    bench.seconds(40)
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "no-media")
    assert not [params for code, params in bench.events if code == "not-recording"]
    bench.tell(2)
    assert bench.writer.states[-1] == (State.RECORDED, "")
    assert len(bench.writer.samples) == 2


def test_a_pause_between_documents_is_a_stated_hole() -> None:
    bench = Bench()
    bench.tell(1)
    bench.seconds(1)
    bench.tell(2)
    bench.seconds(5)
    bench.tell(3)
    (gap,) = bench.writer.gaps
    assert gap[2].state is State.CAMERA_OFFLINE
    assert 3_900_000 <= gap[1] - gap[0] <= 4_100_000


def test_an_announced_track_that_never_speaks_is_explained() -> None:
    bench = Bench()
    bench.seconds(15)
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "no-media")
    assert "not-recording" not in [code for code, _ in bench.events]


def test_metadata_that_nobody_wants_are_counted_and_not_stored() -> None:
    bench = Bench(wanted=False)
    bench.tell(1)
    bench.seconds(1)
    assert track_id(CAMERA, "main", TrackKind.METADATA) not in bench.store.writers
    assert bench.stream.ignored_units == 1


def test_viewers_get_metadata_only_when_they_ask() -> None:
    bench = Bench()
    deaf = bench.stream.channel.subscribe([], True, 1 << 20)
    told = bench.stream.channel.subscribe([], True, 1 << 20, True)
    bench.seconds(1)
    bench.tell(1)
    assert {kind for kind, _ in deaf.take_ready()} == {MediaKind.VIDEO}
    assert {kind for kind, _ in told.take_ready()} == {MediaKind.VIDEO, MediaKind.METADATA}


def test_lost_packets_without_a_document_reach_the_next() -> None:
    bench = Bench()
    bench.stream.loss(MediaKind.METADATA, 3)
    bench.tell(1)
    assert bench.writer.samples[0].lost_packets == 3
    bench.stream.stop(bench.writer.covers[0][1], "server-stopping")


class Quiet:
    """A store's listener that minds nothing."""

    def committed(self, info: object) -> None: ...

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        raise AssertionError("nothing is shed here")

    def trouble(self, code: str, params: dict[str, object]) -> None:
        raise AssertionError(code)


async def test_every_moment_of_irregular_documents_is_explained(tmp_path: Path) -> None:
    """Through a real store: documents 0.1 s to 6 s apart, none for 40 s, and the stream breaks off for 20 s."""
    clock, dice = FakeClock(), random.Random(5)
    options = StoreOptions(create=True, commit_us=3_600_000_000)
    store = await AsyncStore.open(
        tmp_path, "main", server=uuid.UUID(int=7), clock=clock, options=options, listener=Quiet()
    )
    bench = Bench(store=EngineStore(store), clock=clock)
    start_us, waits = clock.utc_us(), [dice.choice([0.1, 0.5, 1.0, 1.0, 2.2, 6.0]) for _ in range(40)]
    sent = []
    for number, wait_s in enumerate([*waits[:20], 40.0, *waits[20:30], -20.0, *waits[30:]]):
        if wait_s < 0:
            bench.stream.closed("stall", {})
        else:
            sent.append(bench.tell(number).data)
        for _ in range(max(1, round(abs(wait_s)))):
            clock.advance(round(abs(wait_s) / max(1, round(abs(wait_s))) * 1e6))
            bench.stream.tick(clock.monotonic_us())
            await store.flush()
        if wait_s < 0:
            bench.stream.opened()
    await store.flush()
    track, end_us = track_id(CAMERA, "main", TrackKind.METADATA), clock.utc_us()
    spans = (await store.read(store.reader.coverage, [track], start_us, end_us))[track]
    refs = await store.read(lambda: list(store.reader.chunks(track, start_us, end_us)))
    got = [sample.data for ref in refs for sample in store.reader.read(ref).samples]
    await store.close()
    assert got == sent
    states = {(str(one.cause.state), one.cause.reason) for one in spans}
    assert states <= {("recorded", ""), ("recorded", "not-yet-durable"), *((("camera-offline", r)) for r in OFFLINE)}
    silent_us = sum(one.end_us - one.start_us for one in spans if one.cause.state is State.CAMERA_OFFLINE)
    expected_s = sum(wait_s - 1 for wait_s in waits if wait_s > 2) + 39 + 20
    assert abs(silent_us - expected_s * 1e6) < 2_500_000, (silent_us, expected_s)
    assert [one.cause.reason for one in spans].count("stall") == 1


OFFLINE = ("no-documents", "no-media", "stall", "connecting")
