"""Pictures that were decoded lately, and those being decoded: each is decoded once, however many ask at once.

Law: bounded by bytes, the least used go first; a picture is named by its key chunk, its place behind the key and how it
was asked for, so an entry never becomes wrong. The decoding goes on when the caller who began it leaves. Called by
`frame_routes`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from recorderd.aio.supervisor import Supervisor

LIMIT_BYTES = 32 * 2**20
ENTRY_BYTES = 500  # what an entry takes beside its picture


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and the time of the frame it shows."""

    data: bytes
    time_us: int


Decode = Callable[[], Awaitable[Picture]]


class FrameCache:
    """`get` gives a picture by name, decoding it if need be."""

    def __init__(self, supervisor: Supervisor, limit_bytes: int = LIMIT_BYTES) -> None:
        self._supervisor = supervisor
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[str, Picture] = OrderedDict()
        self._coming: dict[str, asyncio.Future[Picture | Exception]] = {}
        self.bytes = 0

    async def get(self, name: str, decode: Decode) -> Picture:
        """Raises what `decode` raises, to everybody who waits for that picture."""
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
            return held
        coming = self._coming.get(name)
        if coming is None:
            coming = self._coming[name] = asyncio.get_running_loop().create_future()
            self._supervisor.start("frame", self._decode(name, decode, coming))
        found = await asyncio.shield(coming)
        if isinstance(found, Exception):
            raise found
        return found

    async def _decode(self, name: str, decode: Decode, coming: asyncio.Future[Picture | Exception]) -> None:
        try:
            picture = await decode()
        except Exception as error:  # told to everybody who waits; a bug is logged by the guard that meets it
            coming.set_result(error)
        else:
            self._keep(name, picture)
            coming.set_result(picture)
        finally:
            del self._coming[name]
            if not coming.done():
                coming.cancel()

    def _keep(self, name: str, picture: Picture) -> None:
        self._held[name] = picture
        self.bytes += len(picture.data) + ENTRY_BYTES
        while self.bytes > self._limit_bytes:
            self.bytes -= len(self._held.popitem(last=False)[1].data) + ENTRY_BYTES


def etag_of(name: str) -> str:
    """Quoted and strong."""
    return f'"{hashlib.sha256(name.encode()).hexdigest()[:40]}"'


FRAMES: web.AppKey[FrameCache] = web.AppKey("frames", FrameCache)
