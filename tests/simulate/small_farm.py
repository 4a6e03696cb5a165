"""Farms inside the test's own loop, with small pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable

from recorderd.simulate.farm import Farm

SMALL = ["--size", "160x96", "--fps", "50", "--gop", "10", "--bitrate", "300k"]


class RunningFarm:
    """A farm with its log in memory."""

    def __init__(self, farm: Farm, log: io.StringIO, port: int) -> None:
        self.farm, self.log, self.port = farm, log, port
        self.totals: dict[str, object] = {}

    async def stop(self) -> list[dict[str, object]]:
        """Stop once; gives the log's records."""
        if not self.totals:
            self.totals = await self.farm.stop()
        return self.records()

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


StartFarm = Callable[..., Awaitable[RunningFarm]]
