"""23. An export of more than twelve hours, with gaps in it.

Elsewhere long exports stopped at the first gap, at two gigabytes or at a time limit, or came out shorter with all
gaps closed. Ours: the file is laid out from the index first, gaps keep their length, and every picture is at its
time.
"""

from __future__ import annotations

from pathlib import Path

from mediadb.movie.long_movie import plan_long
from mediadb.mp4.reader import pts_of, read_movie
from mediadb.read.reader import Reader
from tests.long_footage import Film, S, number_of, specs

T0 = 1_790_000_000 * S
HOUR_S = 3_600


def test_every_picture_is_at_its_time(tmp_path: Path) -> None:
    film = Film(tmp_path, specs()[:1], T0, fps=1, gop=10, segment_s=900, commit_s=60)
    for gap_s in (37, 1_800, 5):
        film.seconds(4 * HOUR_S - 60)
        film.wait(gap_s)
    film.seconds(HOUR_S)
    film.stop()
    total_s = film.second
    assert total_s > 12 * HOUR_S
    reader = Reader.open_offline(tmp_path, "main", lambda: T0 + total_s * S)
    movie = plan_long(reader, [specs()[0].track], T0, T0 + total_s * S)
    assert movie is not None
    raw = b"".join(bytes(piece) for piece in movie.read(reader, 0, movie.total_bytes))
    assert len(raw) == movie.total_bytes
    (track,) = read_movie(lambda at, length: raw[at : at + length], len(raw)).tracks
    table = track.samples
    numbers = [number_of(raw[at : at + size]) for at, size in zip(table.offsets, table.sizes, strict=True)]
    assert numbers == film.pictures, "every one, in order, none twice"
    times = [pts * S // track.timescale for pts in pts_of(table)]
    assert all(abs(at - times[0] - n * S) <= 1_000 for at, n in zip(times, numbers, strict=True)), (
        "gaps keep their length"
    )
    assert abs(movie.duration_us - total_s * S) <= S
    reader.close()
