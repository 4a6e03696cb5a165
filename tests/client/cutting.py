"""A proxy that cuts or stalls its connections at given bytes: inside whatever message happens to be there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Cutting:
    """`passed`: bytes from the server, per connection. `stalled` is set when the connection to be stalled is."""

    port: int = 0
    passed: list[int] = field(default_factory=list)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def cutting(port: int, cuts: list[int], stall: int | None = None) -> AsyncIterator[Cutting]:
    """The n-th connection is cut after cuts[n] bytes from the server; with `stall` the one after the last of them
    sends nothing further after so many."""
    made = Cutting()
    tasks: set[asyncio.Task[Any]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], bool]) -> None:
        try:
            while (data := await reader.read(65536)) and count(len(data)):
                writer.write(data)
                await writer.drain()
                if made.stalled.is_set():
                    await asyncio.Event().wait()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        mine = len(made.passed)
        made.passed.append(0)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)

            def counted(size: int) -> bool:
                made.passed[mine] += size
                if stall is not None and mine == len(cuts) and made.passed[mine] >= stall:
                    made.stalled.set()
                return mine >= len(cuts) or made.passed[mine] < cuts[mine]

            await asyncio.gather(pump(reader, server_writer, lambda _: True), pump(server_reader, writer, counted))
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()
