"""Limits of single cameras in the file: values, defaults, and what is warned about."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.fast
DAY = 86_400_000_000
BASE = '[[storage]]\nname = "main"\npath = "/srv/video"\nretention = "30d"\nmax_size = "1TB"\n'


def camera(name: str, keys: str = "") -> str:
    return f'[[hardware]]\nname = "{name}"\ndriver = "rtsp"\naddress = "rtsp://camera/{name}"\n{keys}\n'


def test_a_camera_may_be_kept_otherwise_than_its_storage(load_text: Any) -> None:
    text = BASE + camera("a") + camera("b", 'retention = "7d"\nmax_size = "50GiB"')
    result = load_text(text + camera("c", 'retention = { min = "7d", max = "90d" }'))
    assert result.errors == ()
    one, two, three = (device.cameras[0] for device in result.config.hardware)
    assert (one.has_limits, one.retention_us, one.retention_min_us, one.max_size_bytes) == (False, None, 0, None)
    assert (two.retention_us, two.retention_min_us, two.max_size_bytes) == (7 * DAY, 0, 50 << 30)
    assert (three.retention_us, three.retention_min_us) == (90 * DAY, 7 * DAY)


def test_more_than_four_limits_are_warned_about(load_text: Any) -> None:
    four = "".join(camera(f"c{days}", f'retention = "{days}d"') for days in (1, 2, 3))
    assert load_text(BASE + four).warnings == ()
    found = [str(one) for one in load_text(BASE + four + camera("five", 'retention = "5d"')).warnings]
    assert len(found) == 1
    assert "5 different limits (1 d, 2 d, 3 d, 30 d, 5 d)" in found[0]
    assert "rounded up" in found[0]


def test_cameras_larger_than_their_storage_are_warned_about(load_text: Any) -> None:
    text = BASE + camera("a", 'max_size = "600GB"') + camera("b", 'max_size = "600GB"')
    assert ["max_size together" in str(one) for one in load_text(text).warnings] == [True]
    text = BASE + camera("a", 'max_size = "2TB"')
    assert any("holds at all" in str(one) for one in load_text(text).warnings)
