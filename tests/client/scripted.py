"""A server that says what a test tells it to: one script per connection, the last one again for every further one."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from recorderd.wire.stream.codec import Decoder, encode
from recorderd.wire.stream.messages import MAX_CLIENT_BYTES, Message, Type

LIMITS = {"message": 16 << 20, "client_message": 65536, "subscriptions": 64, "idle_s": 30}
HELLO = {"version": 1, "server": {"id": str(uuid.UUID(int=1)), "name": "hq", "version": "0"}, "time_us": 5,
         "limits": LIMITS}  # fmt: skip
TRACK = uuid.UUID(int=0xABC)
CONFIG = {"config": 1, "track": str(TRACK), "stream": "main", "kind": "video", "codec": "h264",
          "codec_string": "avc1", "timebase_hz": 90_000, "width": 640, "height": 480, "sample_rate": 0, "channels": 0,
          "frame_ticks": 3600}  # fmt: skip
SALT = bytes(range(16))


class Side:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = Decoder(MAX_CLIENT_BYTES)
        self._ready: list[Message] = []
        self.credits: list[int] = []
        self.pings = 0

    async def read(self) -> Message:
        """The next message that is neither ping nor credit. Raises EOFError."""
        while True:
            while not self._ready:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._ready += self._decoder.receive(data)
            message = self._ready.pop(0)
            if message.type == Type.PING:
                self.pings += 1
                self.send(Type.PONG, 0, {"time_us": 1})
            elif message.type == Type.CREDIT:
                self.credits.append(message.head["bytes"])
            else:
                return message

    async def credited(self) -> None:
        """Wait until credit was given. Raises EOFError."""
        while not self.credits:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._ready += self._decoder.receive(data)
            self.credits += [message.head["bytes"] for message in self._ready if message.type == Type.CREDIT]
            self._ready = [message for message in self._ready if message.type != Type.CREDIT]

    def send(
        self, kind: int, number: int = 0, head: dict[str, Any] | None = None, payload: bytes = b"", flags: int = 0
    ) -> None:
        self.writer.write(encode(kind, number, head, payload, flags))

    async def expect(self, kind: Type) -> Message:
        message = await self.read()
        assert message.type == kind, f"{Type(message.type).name} instead of {kind.name}"
        return message

    async def greet(self, **changes: Any) -> None:
        await self.expect(Type.HELLO)
        self.send(Type.SERVER_HELLO, 0, HELLO | changes)

    async def grant(self, kind: Type) -> Message:
        """Read an opening message, say ok."""
        message = await self.expect(kind)
        self.send(Type.OK, message.subscription, {"id": message.head["id"]})
        return message

    def config(self, number: int, **changes: Any) -> None:
        self.send(Type.CONFIG, number, CONFIG | changes, b"entry")

    def unit(self, number: int, index: int, flags: int = 0, **changes: Any) -> None:
        head = {"kind": "video", "cfg": 1, "pts": index * 3600, "dts": index * 3600, "type": 1 if flags & 1 else 0,
                "recv_us": 1000 + index, "time_us": 1000 + index}  # fmt: skip
        self.send(Type.UNIT, number, head | changes, b"unit %d" % index, flags)

    def chunk(self, number: int, seq: int, size: int = 100, **changes: Any) -> None:
        """One chunk with two samples."""
        data = bytes([seq % 256]) * size
        head = chunk_head(seq, data) | changes
        self.send(Type.CHUNK, number, head, data, 1)

    async def cut(self) -> None:
        """No goodbye."""
        await self.writer.drain()
        self.writer.transport.abort()


def chunk_head(seq: int, data: bytes) -> dict[str, Any]:
    table = b"\x42\x10\x0e" + b"\x41\x00" + struct.pack("<BII", 4, 1, len(data) - 1) + b"\x01\x02\x00" + b"\x41\x00"
    return {
        "track": str(TRACK), "kind": "video", "cfg": 1, "run": 7, "seq": seq, "gop": seq, "recv_us": 1000 + seq,
        "end_us": 1001 + seq, "base_dts": 7200 * seq, "base_pts": 7200 * seq, "n": 2, "table": table, "salt": SALT,
        "sha256": hashlib.sha256(SALT + data).digest(), "cursor": f"{TRACK.hex}:{7:016x}:{seq}:1",
    }  # fmt: skip


Script = Callable[[Side], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[tuple[int, list[Side]]]:
    """(port, connections so far). What a script raises fails the test, but for the client's end of the connection."""
    sides: list[Side] = []
    wrong: list[BaseException] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        side = Side(reader, writer)
        script = scripts[min(len(sides), len(scripts) - 1)]
        sides.append(side)
        try:
            await script(side)
            while True:
                await side.read()
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        except BaseException as error:
            wrong.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], sides
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    if wrong:
        raise wrong[0]
