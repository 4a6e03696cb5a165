"""Servers with footage and live sources, stopped with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rtsp_scene import RtspScene, rtsp_scene


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[RtspScene]:
    async with rtsp_scene(tmp_path) as scene:
        yield scene
