"""Recorded footage in Chromium: two cameras in step, exact pictures, a hole that keeps its length."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_scene import T0, S, record, scene
from test_page_in_browser import Tab, browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

# The width of the red band is three pixels a picture: the number is read from what is shown.
NUMBERS = """
window.numbers = () => [...document.querySelectorAll('#recorded-pictures video')].map(video => {
  if (!video.videoWidth || video.seeking) return -1;
  const canvas = document.createElement('canvas');
  canvas.width = 160; canvas.height = 96;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const line = context.getImageData(0, 48, 160, 1).data;
  let red = 0;
  while (red < 160 && line[4 * red] > 180 && line[4 * red + 1] < 90) red += 1;
  return Math.round(red / 3);
});
window.press = key => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
window.go = ms => {
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60000);
  document.getElementById('recorded-time').value = local.toISOString().slice(0, 23);
  document.getElementById('recorded-go').click();
};
true
"""


class RunningClock:
    """Ten minutes after the footage, moving on."""

    def __init__(self) -> None:
        self.began = time.monotonic_ns()

    def monotonic_us(self) -> int:
        return (time.monotonic_ns() - self.began) // 1_000

    def utc_us(self) -> int:
        return T0 + 600 * S + self.monotonic_us()


async def open_page(tab: Tab, port: int) -> None:
    for domain in ("Runtime", "Log", "Page"):
        await tab.call(f"{domain}.enable")
    await tab.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
    await tab.until("document.querySelectorAll('#recorded-cameras input').length === 3")
    await tab.until(NUMBERS)
    for name in ("gate", "yard"):
        await tab.until(
            f"[...document.querySelectorAll('#recorded-cameras label')].find(l => l.textContent.trim() === '{name}')"
            ".firstElementChild.click() || true"
        )


async def shows(tab: Tab, number: int) -> Any:
    return await tab.until(f"JSON.stringify(numbers()) === '[{number},{number}]'")


async def test_steps_seeks_and_play_over_a_hole(tmp_path: Path) -> None:
    async with scene(tmp_path, clock=RunningClock()) as server, browser(tmp_path / "profile") as tab:
        for name in ("gate", "yard"):
            await record(server.store, name, end=30, audio=False)
            await record(server.store, name, start=30, end=60, audio=False, shift_us=4 * S, new_run=True)
        await open_page(tab, server.client.port or 0)
        start = T0 // 1000
        await tab.until(f"go({start + 1_350}) || true")
        await shows(tab, 13)
        for key, number in (
            (".", 14),
            (".", 15),
            (",", 14),
            (",", 13),
            (",", 12),
            ("]", 30),
            (",", 29),
            (".", 30),
            ("[", 0),
        ):
            await tab.until(f"press('{key}') || true")
            await shows(tab, number)
        # a hole of 4 s takes 4 s, on both cameras
        await tab.until("document.getElementById('recorded-keep').click() || true")
        await tab.until(f"go({start + 2_300}) || true")
        await shows(tab, 23)
        await tab.until(
            "window.seen = [], setInterval(() => seen.push([performance.now(), ...[...document.querySelectorAll("
            f"'#recorded-pictures video')].map(v => v.currentTime - {start / 1000})]), 10), true"
        )
        await tab.until("press(' ') || true")
        assert await tab.until("document.querySelector('#recorded-pictures .note').textContent.includes('nothing')")
        await tab.until("seen.at(-1)[1] > 8 && seen.at(-1)[2] > 8")
        for camera in (1, 2):
            before = f"seen.find(one => one[{camera}] >= 2.85)[0]"
            after = f"seen.find(one => one[{camera}] >= 7)[0]"
            assert await tab.until(f"{after} - {before}") >= 3_500, "wall time passes as it did"
        apart = await tab.until("Math.max(...seen.filter(o => o[1] > 7.3).map(o => Math.abs(o[1] - o[2]))) || 0.000001")
        assert apart < 0.5
        assert tab.complaints == []
