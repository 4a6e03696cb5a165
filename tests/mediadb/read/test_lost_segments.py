"""Sealed segments that went, were cut or were removed: one answer, with the daemon's reader and with the tool's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import T0, S, offline, spec

from mediadb.errors import MediaDbError
from mediadb.read.reader import Reader

pytestmark = pytest.mark.fast
CAM = spec(1)
NOW = T0 + 100 * S
Words = list[tuple[float, str, str]]


def words(reader: Reader, end: float = 25) -> Words:
    found = reader.coverage([CAM.track], T0, T0 + round(end * S))[CAM.track]
    return [((i.start_us - T0) / S, str(i.cause.state), i.cause.reason) for i in found]


def daemon(volume: Path) -> Reader:
    reader = Reader(volume, "main", lambda: NOW)
    reader.refresh()
    return reader


def everywhere(volume: Path, running: Reader) -> Words:
    """The answer of a running reader, which a restarted one and the tool must share."""
    said = words(running)
    assert words(offline(volume)) == said
    again = daemon(volume)
    assert words(again) == said
    again.close()
    return said


@pytest.fixture
def running(finished: Path) -> Reader:
    reader = daemon(finished)
    assert [state for _, state, _ in words(reader)] == ["recorded"]
    assert list(reader.chunks(CAM.track, T0, T0 + 25 * S))
    return reader


def second(volume: Path) -> Path:
    return sorted(volume.rglob("*.rseg"))[1]


def test_a_missing_segment_is_a_storage_error(finished: Path, running: Reader) -> None:
    second(finished).unlink()
    said = everywhere(finished, running)
    assert [w[1:] for w in said] == [("recorded", ""), ("storage-error", "segment-missing"), ("recorded", "")]
    assert 0 < said[1][0] < said[2][0] < 25


@pytest.mark.parametrize("share", [0, 1 / 3, 2 / 3])
def test_a_cut_segment_is_a_storage_error_from_where_it_cannot_be_read(
    finished: Path, running: Reader, share: float
) -> None:
    path = second(finished)
    os.truncate(path, int(path.stat().st_size * share))
    said = everywhere(finished, running)
    assert [w[1:] for w in said] == [("recorded", ""), ("storage-error", "segment-damaged"), ("recorded", "")]
    refs = list(running.chunks(CAM.track, T0, T0 + 25 * S))
    low, high = (T0 + round(w[0] * S) for w in said[1:])
    assert [r for r in refs if low <= r.recv_us < high] == [], "coverage, chunks and spans agree"
    assert all(running.read(ref).samples for ref in refs if ref.recv_us < low)
    assert len(running.spans(CAM.track, T0, T0 + 25 * S)) == 2


def test_a_read_of_a_cut_segment_corrects_the_index(finished: Path, running: Reader) -> None:
    path = second(finished)
    refs = [r for r in running.chunks(CAM.track, T0, T0 + 25 * S) if finished / (r.name + ".rseg") == path]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(MediaDbError):
        running.read(refs[-1])
    assert len(running.spans(CAM.track, T0, T0 + 25 * S)) == 2
    left = [r for r in running.chunks(CAM.track, T0, T0 + 25 * S) if finished / (r.name + ".rseg") == path]
    assert 0 < len(left) < len(refs)


def test_the_first_and_the_last_segment_lost(finished: Path, running: Reader) -> None:
    first, _, last = sorted(finished.rglob("*.rseg"))
    first.unlink()
    last.write_bytes(b"")
    assert [w[1:] for w in everywhere(finished, running)] == [
        ("storage-error", "segment-missing"),
        ("recorded", ""),
        ("storage-error", "segment-damaged"),
    ]


def test_a_patrol_tells_of_each_lost_file_once_and_forgets_what_came_back(finished: Path) -> None:
    told: list[tuple[str, dict[str, object]]] = []
    reader = Reader(finished, "main", lambda: NOW, told=lambda code, params: told.append((code, params)))
    assert reader.patrol() == 0
    path, other = second(finished), sorted(finished.rglob("*.rseg"))[2]
    good, rest = path.read_bytes(), other.read_bytes()
    path.unlink()
    os.truncate(other, 5000)
    assert [reader.patrol(), reader.patrol()] == [2, 2]
    assert sorted(code for code, _ in told) == ["segment-damaged", "segment-missing"]
    (missing,) = [params for code, params in told if code == "segment-missing"]
    assert missing["segment"] == str(path.relative_to(finished).with_suffix(""))
    assert T0 <= int(str(missing["start_us"])) < int(str(missing["end_us"])) <= T0 + 25 * S
    assert reader.losses() == {"damaged_chunks": 0, "missing_segments": 2}
    path.write_bytes(good)
    other.write_bytes(rest)
    assert reader.patrol() == 0
    (finished / "log").rename(finished / "elsewhere")
    reader.patrol()
    assert len(told) == 2, "a volume that is away as a whole lost no file"
