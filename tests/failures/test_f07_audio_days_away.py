"""7. The sound says it began days before the picture.

Elsewhere the file got a track that starts days later, or the muxer refused everything. Ours: what the camera says of
its time is kept beside and moves nothing; tracks meet where they arrived.
"""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from mediadb.movie.movie import build_movie
from mediadb.types import TrackKind
from recorderd.engine.stream import track_id
from recorderd.media.access_unit import AccessUnit, Codec, CodecConfig, MediaKind, UnitType
from tests.time.time_rig import CAMERA, DAY, FRAME_US, MINUTE, S, World

G711 = CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8_000, sample_rate=8_000, channels=1, frame_ticks=4_000)


@pytest.mark.parametrize("apart_us", [3 * DAY, -3 * DAY, 400 * DAY])
async def test_tracks_meet_where_they_arrived(tmp_path: Path, apart_us: int) -> None:
    world = await World(tmp_path).start()
    for number in range(2 * MINUTE // FRAME_US):
        ticks = number * 4_000 + abs(apart_us) // S * 8_000
        now, mono = world.clock.utc_us(), world.clock.monotonic_us()
        world.unit()
        world.stream.unit(
            MediaKind.AUDIO,
            AccessUnit(b"\xd5" * 4_000, ticks, ticks, UnitType.AUDIO, now, mono, G711, cam_us=now + apart_us),
        )
        world.clock.advance(FRAME_US)
        world.media_us += FRAME_US
        if number % 20 == 0:
            await world.flush()
    await world.stop()
    reader = world.reader()
    audio = track_id(CAMERA, "main", TrackKind.AUDIO)
    low = world.times[0]
    found = reader.coverage([world.track, audio], low, low + 2 * MINUTE)
    assert {str(one.cause.state) for intervals in found.values() for one in intervals} == {"recorded"}
    movie = build_movie(reader, [world.track, audio], low, low + 2 * MINUTE)
    assert movie is not None
    raw = b"".join(bytes(piece) for piece in movie.read(reader, 0, movie.total_bytes))
    with av.open(io.BytesIO(raw)) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert abs(float(video.start_time * video.time_base) - float(sound.start_time * sound.time_base)) < 0.5
        assert float(video.duration * video.time_base) == pytest.approx(120, abs=1)
        assert float(sound.duration * sound.time_base) == pytest.approx(120, abs=1)
    cams = [one.cam_us for ref in reader.chunks(audio, low, low + S) for one in reader.read(ref).samples]
    assert cams[0] == low + apart_us, "the camera's word is kept"
    reader.close()
