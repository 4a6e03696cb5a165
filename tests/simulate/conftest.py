"""Small clips, made once per test process, and farms that are stopped with their test."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from small_farm import SMALL, RunningFarm, StartFarm

from recorderd.aio.system_clock import SystemClock
from recorderd.simulate.farm import Farm
from recorderd.simulate.options import parse_options

# Plug-ins ask the policy for a loop around synchronous tests too, and Python 3.11 would make one that nobody closes.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def clip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
async def start_farm(clip_cache: Path) -> AsyncIterator[StartFarm]:
    running: list[RunningFarm] = []

    async def start(*argv: str) -> RunningFarm:
        options = parse_options([*SMALL, "--clip-cache", str(clip_cache), *argv])
        log = io.StringIO()
        farm = Farm(options, SystemClock(), log)
        running.append(RunningFarm(farm, log, await farm.start()))
        return running[-1]

    yield start
    for one in running:
        await one.stop()
