"""What a recording server acknowledged, heard from outside: the TCP stream API says `sealed` when footage is on disk.

Law: a thread of the test with a peer written from docs/api/stream.md alone. What it has heard is a floor: chunks below
`next_seq` of a run are promised, whatever happens to the server afterwards.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from uuid import UUID

from tests.peers import stream_peer as page

Floor = dict[tuple[UUID, int], int]  # (track, run) -> next_seq


@dataclass(frozen=True)
class Ending:
    """How a server ended: when (UTC µs), what it had promised, and up to when per camera."""

    at_us: int
    floor: Floor
    until_us: dict[str, int]


class Acknowledged(threading.Thread):
    """Listens until the server is gone. `heard` counts `sealed` messages; all public fields are only read elsewhere."""

    def __init__(self, port: int, cameras: list[str]) -> None:
        super().__init__(name="acknowledged", daemon=True)
        self._port, self._cameras = port, cameras
        self._more = threading.Condition()
        self.floor: Floor = {}
        self.until_us: dict[str, int] = {}  # per camera: durable up to
        self.heard = 0
        self._ending = False

    def run(self) -> None:
        unready = (OSError, EOFError, AssertionError)  # not there yet, or a camera it does not know yet
        while not self._ending:
            with contextlib.suppress(*unready), page.Peer("127.0.0.1", self._port) as peer:
                self._listen(peer)
            time.sleep(0.02)

    def end(self) -> None:
        self._ending = True

    def wait_for(self, times: int, seconds: float) -> bool:
        """Every camera was acknowledged, and `times` messages came; False when it did not happen in time."""
        with self._more:
            return self._more.wait_for(
                lambda: self.heard >= times and len(self.until_us) == len(self._cameras), seconds
            )

    def ended(self) -> Ending:
        """Called when the server is killed: what it had promised by now."""
        with self._more:
            return Ending(time.time_ns() // 1000, dict(self.floor), dict(self.until_us))

    def _listen(self, peer: page.Peer) -> None:
        names = {peer.open(page.LIVE, camera=name, sealed=True): name for name in self._cameras}
        while not self._ending:
            heard = peer.rest.pop(0) if peer.rest else peer.hear()
            if heard.type == page.SEALED:
                name = names[heard.subscription]
                with self._more:
                    self.floor[UUID(heard.head["track"]), heard.head["run"]] = heard.head["next_seq"]
                    self.until_us[name] = heard.head["until_us"]
                    self.heard += 1
                    self._more.notify_all()
            elif heard.type in (page.S_BYE, page.ENDED):
                return
