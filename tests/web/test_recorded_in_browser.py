"""Recorded files in Chromium's own player: both forms are played and sought, each picture told by what it shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_scene import T0, S, record, scene
from test_page_in_browser import browser

from recorderd.core.timerange import format_time
from recorderd.server.http import movie

pytestmark = [pytest.mark.e2e, pytest.mark.browser]
VIDEO = "document.querySelector('video')"
RED_WIDTH = f"""(() => {{
  const video = {VIDEO}, canvas = document.createElement('canvas');
  canvas.width = 160; canvas.height = 96;
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0);
  const row = pen.getImageData(0, 48, 160, 1).data;
  let width = 0;
  while (width < 160 && row[width * 4] > 180 && row[width * 4 + 1] < 90) width += 1;
  return 'w' + width;
}})()"""


def red_width(number: int) -> int:
    """How wide the clip's red bar is in a picture."""
    return number * 3 % 160


@pytest.mark.parametrize("long_us", [0, 3_600 * S], ids=["long form", "plain form"])
async def test_chromium_plays_and_seeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_us: int) -> None:
    """4 s of pictures 0-39, a gap of 4 s, pictures 40-79."""
    monkeypatch.setattr(movie, "LONG_US", long_us)
    async with scene(tmp_path) as made, browser(tmp_path / "profile") as tab:
        made.clock.advance(10 * S)
        await record(made.store, "gate", end=40)
        await record(made.store, "gate", start=40, end=80, shift_us=4 * S, new_run=True)
        path = f"/api/v1/cameras/gate/media.mp4?start={format_time(T0)}&end={format_time(T0 + 60 * S)}"
        await tab.call("Page.enable")
        await tab.call("Page.navigate", url=f"http://127.0.0.1:{made.client.port}{path}")
        length = await tab.until(f"{VIDEO} && {VIDEO}.readyState >= 2 && {VIDEO}.duration")
        assert abs(length - 12.0) < 0.1
        await tab.until(f"{VIDEO}.pause(), {VIDEO}.muted = true")
        for time, number in [(9.55, 55), (2.35, 23), (6.0, 39), (11.85, 78), (0.55, 5), (8.05, 40)]:
            await tab.call("Runtime.evaluate", expression=f"{VIDEO}.currentTime = {time}")
            await tab.until(f"!{VIDEO}.seeking && {VIDEO}.readyState >= 2")
            wanted = f"Math.abs(+({RED_WIDTH}).slice(1) - {red_width(number)}) <= 2"
            assert await tab.until(wanted), (time, number)
        assert await tab.until(f"{VIDEO}.error === null")
