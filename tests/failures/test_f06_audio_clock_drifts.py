"""6. The sound's clock runs one per cent fast (G.711 of cheap cameras).

Elsewhere sound and picture drifted apart by minutes a day, or the sound was cut. Ours: what was recorded stays where
it arrived, both tracks by the recorder's clock, and the drift is told as an event with its size.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mediadb.types import TrackKind
from recorderd.engine.stream import track_id
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from tests.time.time_rig import CAMERA, HOUR, MINUTE, S, World
from tests.wire.rtp_bench import Bench, rtp

G711 = CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8_000, sample_rate=8_000, channels=1, frame_ticks=160)


@pytest.mark.parametrize("ppm", [10_000, -10_000])
def test_the_drift_is_told(ppm: int) -> None:
    bench = Bench("g711", config=G711)
    for number in range(50 * 60):
        bench.feed([rtp(b"\xd5" * 160, number, 1_000 + number * 160)])
        bench.clock.advance(20_000 - 20_000 * ppm // 1_000_000)
    told = [params["ppm"] for code, params in bench.events if code == "clock-drift"]
    assert told == [pytest.approx(ppm, rel=0.03)], "once, with its size"
    assert not any(unit.discontinuity for unit in bench.units), "drift is no jump"


async def test_sound_and_picture_do_not_part(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    sounds: dict[int, int] = {}
    bench = Bench("g711", config=G711)
    bench.clock = bench.track._clock = world.clock
    for second in range(HOUR // S // 2):
        for _ in range(2):
            bench.feed([rtp(b"\xd5" * 160, len(sounds), 1_000 + len(sounds) * 4_040, marker=True)])  # 1 % too many
            unit = bench.units.pop()
            sounds[unit.pts] = world.clock.utc_us()
            world.stream.unit(MediaKind.AUDIO, unit)
            world.unit()
            world.clock.advance(S // 2)
            world.media_us += S // 2
        if second % 10 == 0:
            await world.flush()
    await world.stop()
    reader = world.reader()
    audio = track_id(CAMERA, "main", TrackKind.AUDIO)
    stored = [one for ref in reader.chunks(audio, 0, 1 << 61) for one in reader.read(ref).samples]
    assert [one.pts for one in stored] == list(sounds), "no sound lost, none twice"
    assert max(abs(one.recv_us - sounds[one.pts]) for one in stored) < S // 2, "half an hour and no further apart"
    at = world.times[0] + 29 * MINUTE
    near = [one.recv_us for ref in reader.chunks(audio, at, at + S) for one in reader.read(ref).samples]
    assert min(abs(time_us - at) for time_us in near) < S
    reader.close()
