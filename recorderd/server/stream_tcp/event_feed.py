"""An `events` subscription: stored events after an id, then new ones, without a hole between the two.

Law: sends while nothing waits on the socket; a client that reads slower than events happen is caught up from the
database. Called by `requests`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recorderd.server.stream_tcp import fields
from recorderd.server.stream_tcp.request import Request
from recorderd.server.stream_tcp.subscription import TaskSubscription
from recorderd.state.events import Event
from recorderd.wire.stream.codec import frame, pack
from recorderd.wire.stream.messages import Type

if TYPE_CHECKING:
    from recorderd.server.stream_tcp.session import Session

PAGE = 500
_HEAD_BYTES = 60_000


class EventFeed(TaskSubscription):
    """Needs no credit."""

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.credit = None
        self._events = session.shared.deps.events
        last = self._events.last_id
        newest = fields.count(request.head, "newest", 0, 1_000, 0)
        self._after = fields.count(request.head, "after", 0, 2**63 - 1, max(0, last - newest))

    def opened(self) -> dict[str, object]:
        return {"after": self._after}

    async def run(self) -> None:
        """From the database until caught up, then as they happen; again from the database after falling behind."""
        while True:
            subscription = self._events.subscribe()
            try:
                while page := await self._events.list(after=self._after, limit=PAGE):
                    for event in page:
                        await self._send(event)
                async for event in subscription:
                    if event.id > self._after:
                        await self._send(event)
            finally:
                self._events.unsubscribe(subscription)

    async def _send(self, event: Event) -> None:
        self._after = event.id
        if not self.session.sees(event.camera):
            return
        await self.room()
        head = {"id": event.id, "time_us": event.time_us, "code": event.code, "camera": event.camera,
                "hardware": event.hardware}  # fmt: skip
        params = dict(event.params)
        packed, payload = pack({**head, "params": params}), b""
        if len(packed) > _HEAD_BYTES:
            packed, payload = pack(head), pack(params)
        self.outlet.send(frame(Type.EVENT, self.number, packed, len(payload)), packed, payload)
