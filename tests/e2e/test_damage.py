"""What sick bytes do: verify names the place, the catalog is only a cache, and a start never fails."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.harness import Farm, Server, run_mediadb, running, wait_until
from tests.e2e.oracle import committed_frames

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Six seconds of two cameras; while recording, the catalog is deleted under the server."""
    folder = tmp_path_factory.mktemp("damage")
    farm = Farm(folder, 2, ["--size", "320x240", "--bitrate", "200k", "--gop", "25"]).start()
    server = Server(folder)
    for number in range(2):
        server.add(f"cam{number}", farm.url(number))
    with running(farm, server):
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 2, 30, server.log)
        time.sleep(4)
        end = time.time() - 2
        query = f"/api/v1/cameras/cam1/coverage?start={rfc3339(end - 3)}&end={rfc3339(end)}"
        before = server.get(query)
        for path in server.volume.glob("catalog.db*"):
            path.unlink()
        assert server.get(query) == before, "the answer changed when the catalog was deleted under the server"
        time.sleep(2)
        farm.stop()
        time.sleep(1)
        assert server.stop() == 0, server.log()
    return server


def rfc3339(seconds: float) -> str:
    from recorderd.core.timerange import format_time

    return format_time(int(seconds * 1e6))


def coverage(server: Server, until_s: float) -> object:
    span = ["--start", rfc3339(until_s - 30), "--end", rfc3339(until_s)]
    done = run_mediadb("coverage", str(server.volume), *span, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["tracks"]


def test_a_deleted_or_rotten_catalog_changes_no_answer(recorded: Server) -> None:
    until_s = time.time() - 1
    frames, states = committed_frames(recorded.volume, "cam0"), coverage(recorded, until_s)
    catalog = recorded.volume / "catalog.db"
    for damage in (
        lambda: catalog.unlink(missing_ok=True),
        lambda: catalog.write_bytes(b"SQLite format 3\0" + b"x" * 9000),
    ):
        for extra in recorded.volume.glob("catalog.db-*"):
            extra.unlink()
        damage()
        assert committed_frames(recorded.volume, "cam0") == frames
        assert coverage(recorded, until_s) == states


@pytest.mark.parametrize("seed", range(10))
def test_verify_is_red_and_names_the_place_after_any_flip(recorded: Server, seed: int) -> None:
    assert run_mediadb("verify", str(recorded.volume)).returncode == 0
    (segment,) = list(recorded.volume.glob("log/**/*.rseg"))[:1]
    whole = segment.read_bytes()
    offset = random.Random(seed).randrange(len(whole))
    if seed < 3:  # zero padding must be watched too: somewhere inside a run of zeroes
        offset = whole.index(b"\0" * 64, offset * 9 // 10) + 32
    broken = bytearray(whole)
    broken[offset] ^= 1 << seed % 8
    segment.write_bytes(broken)
    try:
        done = run_mediadb("verify", str(recorded.volume))
        assert done.returncode == 1, f"flip at {offset} of {len(whole)} was not seen\n{done.stdout}"
        assert segment.name in done.stdout
    finally:
        segment.write_bytes(whole)


def test_a_torn_segment_never_stops_the_start(recorded: Server, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(recorded.folder, folder)
    server = Server(folder, list(recorded.hardware))
    for segment in server.volume.glob("log/**/*.rseg"):
        segment.write_bytes(segment.read_bytes()[: segment.stat().st_size * 2 // 3])
    (server.volume / "catalog.db").write_bytes(b"rot")
    with running(server):
        server.start()
        wait_until(lambda: server.alive() and server.get("/api/v1/status") is not None, 20, server.log)
        kept = server.get("/api/v1/cameras/cam0/media.json?start=-1h&end=now")
        assert kept["tracks"][0]["samples"] > 50, "what is still readable in a torn segment is served"
        assert server.stop() == 0, server.log()
