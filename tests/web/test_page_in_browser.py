"""The page in Chromium: pictures run, coverage is drawn, hostile names stay text, nothing is complained about."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from server_scene import CAMERAS, record, scene, units, video_clip

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.e2e, pytest.mark.browser]
HOSTILE = "<img src=x onerror=alert(1)>"


class Tab:
    """One tab, driven over the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json()
            if message.get("id") == self.number:
                return message.get("result", message)
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"])[:500])

    async def until(self, expression: str) -> Any:
        """Poll until the expression is true in the page; the test's own timeout is the limit."""
        while True:
            found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            if found["result"].get("value"):
                return found["result"]["value"]
            await asyncio.sleep(0.1)


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    argv = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "--autoplay-policy=no-user-gesture-required", "--no-first-run",
        "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "about:blank",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *argv, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        line = b""
        while b"DevTools listening on ws://" not in line:
            line = await process.stderr.readline()
            assert line, "chromium ended at once"
        where = line.split(b"ws://")[1].split(b"/")[0].decode()
        async with aiohttp.ClientSession() as client:
            pages: list[dict[str, Any]] = []
            while not pages:
                async with client.get(f"http://{where}/json") as answer:
                    pages = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with client.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Tab(socket)
    finally:
        process.kill()
        await process.communicate()


async def test_the_page_shows_pictures_coverage_and_events(tmp_path: Path) -> None:
    async with scene(tmp_path) as server, browser(tmp_path / "profile") as tab:
        await record(server.store, "gate", end=60, audio=False)
        engine = server.engine
        engine.views["yard"] = replace(engine.views["yard"], name=HOSTILE)
        source = engine.sources[CAMERAS["gate"], "main"]
        source.gop = units(video_clip(), 0, 10)
        server.events.emit("camera-offline", camera=CAMERAS["away"], params={"reason": HOSTILE})
        for domain in ("Runtime", "Log", "Page"):
            await tab.call(f"{domain}.enable")
        await tab.call("Page.navigate", url=f"http://127.0.0.1:{server.client.port}/")
        names = await tab.until(
            "[...document.querySelectorAll('.camera .name')].length === 3 &&"
            "[...document.querySelectorAll('.camera .name')].map(one => one.textContent)"
        )
        assert sorted(names) == sorted(["away", "gate", HOSTILE])
        for kind, unit in units(video_clip(), 10, 40):
            source.push(kind, unit)
        gate = "[...document.querySelectorAll('.camera')].find(c => c.querySelector('.name').textContent === 'gate')"
        assert await tab.until(f"{gate}.querySelector('video').videoWidth") == 160
        assert await tab.until(f"{gate}.querySelector('video').currentTime > 0.5")
        assert await tab.until(f"{gate}.querySelectorAll('.bar .fill-recorded').length")
        away = gate.replace("'gate'", "'away'")
        assert await tab.until(f"{away}.querySelector('.state').textContent") == "camera offline (connection refused)"
        event = await tab.until("document.querySelector('#events li')?.textContent")
        assert "Camera offline" in event
        assert HOSTILE in event
        assert await tab.until("document.querySelectorAll('img').length === 0")
        # a change of format and a break go on by themselves
        for kind, unit in units(video_clip(), 40, 60):
            unit.dts, unit.pts, unit.discontinuity = unit.dts + 10**8, unit.pts + 10**8, unit.is_key
            source.push(kind, unit)
        assert await tab.until(f"{gate}.querySelector('video').buffered.end(0) > 5.8")
        assert await tab.until(f"{gate}.querySelector('video').error === null")
        assert tab.complaints == []
