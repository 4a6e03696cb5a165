"""A camera's own retention: from the file to the storage, by reload, without touching the camera."""

from __future__ import annotations

import json
import uuid

import pytest
from daemon_process import DaemonProcess

from recorderd.config.schema import CameraConfig, Config, HardwareConfig, StorageConfig
from recorderd.daemon.limits import camera_limits

pytestmark = pytest.mark.e2e
DAY_US = 86_400_000_000


def test_a_reload_gives_a_camera_its_own_retention(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.wait_for(daemon.recording)
    camera = daemon.camera()
    found = daemon.get("storages/main/reclaim")
    assert (found["state"], found["now"]["segments"]) == ("free", 0)
    daemon.hardware[0] += 'retention = { min = "1d", max = "7d" }\nmax_size = "64MiB"\n'
    daemon.write()
    assert daemon.get("storages/main/reclaim")["after_reload"]["segments"] == 0
    status, report = daemon.post("reload")
    assert (status, report["changed"], report["would_delete"]) == (200, [camera["name"]], {})
    assert daemon.camera()["recording"]["since"] == camera["recording"]["since"], "nothing of it was touched"

    def remembered() -> bool:
        for path in daemon.storage_path.rglob("RECLAIM"):
            cameras = json.loads(path.read_text())["cameras"]
            return cameras == {camera["id"]: [7 * DAY_US, DAY_US, 64 << 20]}
        return False

    daemon.wait_for(remembered)
    wanted = daemon.get("storages/main/reclaim")["forecast"]["cameras"]
    assert [(one["camera"], one["wanted_us"]) for one in wanted] in ([(camera["name"], 7 * DAY_US)], [])
    assert daemon.stop() == 0


@pytest.mark.fast
def test_limits_hold_in_the_storage_and_in_the_one_that_stands_in(tmp_path) -> None:  # type: ignore[no-untyped-def]
    own, plain = CameraConfig("own", storage="a", retention_us=DAY_US), CameraConfig("plain", storage="a")
    least = CameraConfig("least", storage="b", retention_min_us=5)
    device = HardwareConfig("box", "rtsp", "rtsp://x/", cameras=(own, plain, least))
    storages = (StorageConfig("a", tmp_path, 9 * DAY_US, fallback="b"), StorageConfig("b", tmp_path, 3 * DAY_US))
    ids = {name: uuid.uuid4() for name in ("own", "plain", "least")}
    found = camera_limits(Config(storages=storages, hardware=(device,)), ids)
    assert {name: {camera: (one.max_us, one.min_us) for camera, one in of.items()} for name, of in found.items()} == {
        "a": {ids["own"]: (DAY_US, 0), ids["least"]: (9 * DAY_US, 5)},
        "b": {ids["own"]: (DAY_US, 0), ids["least"]: (3 * DAY_US, 5)},
    }


@pytest.mark.fast
def test_footage_that_lies_elsewhere_is_kept_as_long(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A camera that moved to another storage: what it left behind is no older than its limits say."""
    long = CameraConfig("long", storage="a", retention_us=30 * DAY_US, max_size_bytes=1 << 30)
    least = CameraConfig("least", storage="a", retention_min_us=7 * DAY_US)
    short = CameraConfig("short", storage="a", retention_us=DAY_US)
    device = HardwareConfig("box", "rtsp", "rtsp://x/", cameras=(long, least, short))
    storages = (
        StorageConfig("a", tmp_path, 40 * DAY_US, fallback="c"),
        StorageConfig("b", tmp_path, 3 * DAY_US),
        StorageConfig("c", tmp_path, 2 * DAY_US),
    )
    ids = {name: uuid.uuid4() for name in ("long", "least", "short")}
    found = camera_limits(Config(storages=storages, hardware=(device,)), ids)
    assert {camera: (one.max_us, one.min_us, one.max_bytes) for camera, one in found["b"].items()} == {
        ids["long"]: (30 * DAY_US, 0, None),
        ids["least"]: (7 * DAY_US, 7 * DAY_US, None),
    }
    assert found["c"][ids["least"]].max_us == 7 * DAY_US, "the one that stands in keeps the minimum too"
