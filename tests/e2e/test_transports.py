"""The same loss over TCP and over UDP: each lost packet is in the database and in the coverage exactly once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mediadb.types import TrackKind
from tests.e2e.harness import Farm, Server, marker, running, wait_until
from tests.e2e.oracle import open_reader

pytestmark = pytest.mark.e2e

FARM = ["--size", "320x240", "--bitrate", "800k", "--gop", "25", "--fault", "cam/0=loss:8%x3"]
FARM += ["--fault", "cam/1=loss:8%x3"]
LOSSY = ("tcp", "udp")


def whole_and_lost(volume: Path, camera: str) -> tuple[set[int], int]:
    """(numbers of the pictures that came whole, packets counted as lost) of a camera's video."""
    reader = open_reader(volume)
    samples = [
        sample
        for info in reader.tracks()
        if info.names.camera == camera and info.spec.kind is TrackKind.VIDEO
        for reference in reader.chunks(info.spec.track, 0, 2**62)
        for sample in reader.read(reference).samples
    ]
    marked = [marker(sample.data) for sample in samples if not sample.damaged]
    return {found[1] for found in marked if found is not None}, sum(sample.lost_packets for sample in samples)


def holes(coverage: dict[str, Any]) -> list[int]:
    """Packets of each stretch that is missing because the network lost it."""
    stretches = [one for track in coverage["tracks"] for one in track["intervals"]]
    return [one["params"]["packets"] for one in stretches if one["state"] == "network-loss"]


def test_loss_over_udp_is_counted_like_loss_over_tcp(tmp_path: Path) -> None:
    farm = Farm(tmp_path, 3, FARM).start()
    server = Server(tmp_path)
    for number, name in enumerate(LOSSY):
        server.add(name, farm.url(number), f'transport = "{name}"')
    server.add("whole", farm.url(2), 'transport = "udp"')
    with running(farm, server):
        server.start()
        wait_until(lambda: server.alive() and server.recording() == 3, 30, server.log)
        time.sleep(8)
        farm.stop()
        wait_until(lambda: all(one["state"] != "recorded" for one in server.cameras().values()), 30, server.log)
        coverage = {
            name: server.get(f"/api/v1/cameras/{name}/coverage?start=-60s&end=now") for name in (*LOSSY, "whole")
        }
        assert server.stop() == 0, server.log()
    (line,) = farm.connections(2)
    assert whole_and_lost(server.volume, "whole") == (set(range(line["first"], line["last"] + 1)), 0)
    for number, name in enumerate(LOSSY):
        (line,) = farm.connections(number)
        whole, counted = whole_and_lost(server.volume, name)
        # Loss in front of the first picture that can be entered, or behind the last that came, cannot be known of.
        unknowable = max(line["lost_frames"]) > max(whole) or min(line["lost_frames"]) < min(whole)
        assert counted == line["lost_packets"] or (unknowable and 0 < counted < line["lost_packets"]), name
        hurt = set(line["lost_frames"])
        assert not whole & hurt, name
        # The picture behind a loss may be doubted when none of its kind was seen before.
        assert set(range(min(whole), max(whole) + 1)) - whole <= hurt | {n + 1 for n in hurt}, name
        assert max(whole) == max(set(range(line["last"] + 1)) - hurt), name
        told = holes(coverage[name])
        assert told, name
        assert min(told) > 0
        assert sum(told) <= counted, name
    assert holes(coverage["whole"]) == []
