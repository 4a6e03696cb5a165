"""Metadata documents of a camera, with and without lost packets: recorded as sent, explained, named in the export."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest

from mediadb.read.reader import Reader
from mediadb.types import TrackKind
from tests.e2e.harness import Farm, Server, run_mediadb, running, wait_until

pytestmark = pytest.mark.e2e

OPTIONS = ["--metadata", "--audio", "opus", "--size", "320x180", "--bitrate", "200k"]
SOURCE = re.compile(rb'Source="cam(\d+)/(\d+)"')


def documents(server: Server, camera: str) -> list[bytes]:
    """All documents in the files of the volume."""
    reader = Reader.open_offline(server.volume, "main", lambda: 4_000_000_000_000_000)
    try:
        found = [t for t in reader.tracks() if t.spec.kind is TrackKind.METADATA]
        (track,) = [t for t in found if t.spec.camera == uuid.UUID(camera)]
        refs = reader.chunks(track.spec.track, track.first_us, track.last_us)
        return [sample.data for ref in refs for sample in reader.read(ref).samples]
    finally:
        reader.close()


def test_documents_are_recorded_and_explained(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 2, OPTIONS, user=False).start()
    server = Server(tmp_path)
    server.add("told", farm.url(0), user=False)
    server.add("deaf", farm.url(1), "metadata = false", user=False)
    with running(server):
        server.start()
        wait_until(lambda: server.alive() and told(server) >= 5, 40, server.log)
        cameras = server.cameras()
        cover = server.get("/api/v1/cameras/told/coverage?start=-5m&end=now")
        film = server.get("/api/v1/cameras/told/media.json?start=-5m&end=now")
        assert server.stop() == 0, server.log()
    farm.stop()
    assert {track["kind"] for track in cameras["deaf"]["streams"][0]["tracks"]} == {"video", "audio"}
    got = documents(server, cameras["told"]["id"])
    numbers = [int(found[2]) for data in got if (found := SOURCE.search(data)) and found[1] == b"0"]
    assert len(numbers) == len(got) >= 5
    assert numbers == list(range(numbers[0], numbers[0] + len(got)))
    assert all(data.startswith(b"<?xml") and data.endswith(b"</tt:MetadataStream>") for data in got)
    (connection,) = farm.connections(0)
    assert 0 <= connection["metadata_sent"] - len(got) <= 1  # the last may come after the stop
    (track,) = [one for one in cover["tracks"] if one["kind"] == "metadata"]
    assert "unexplained" not in {one["state"] for one in track["intervals"]}
    assert "recorded" in {one["state"] for one in track["intervals"]}

    assert [(one["kind"], one["codec"]) for one in film["left_out"]] == [("metadata", "metadata")]
    assert [one["kind"] for one in film["tracks"]] == ["video", "audio"]

    out = tmp_path / "out"
    done = run_mediadb("export", str(server.volume), "told", "--start", "-10m", "--end", "now", "-o", str(out))
    assert done.returncode == 0, done.stderr
    (manifest,) = out.glob("told_*.json")
    record = json.loads(manifest.read_text())
    assert [one["kind"] for one in record["tracks"]] == ["video", "audio", "metadata"]
    (problem,) = record["problems"]
    assert "metadata" in problem


def told(server: Server) -> int:
    """Durable documents of the camera that tells."""
    tracks = server.cameras()["told"]["streams"][0]["tracks"]
    return sum(int(one["counters"]["committed_samples"]) for one in tracks if one["kind"] == "metadata")
