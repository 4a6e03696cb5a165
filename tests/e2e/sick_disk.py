"""What the scenes of sick disks have in common: a server on real file systems, watched from outside while they fail.

Law: the verdict is by the farm's log and the second parser; coverage is asked only whether it declares what is missing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path

from mediadb.read.reader import Reader
from tests.disks import Disk
from tests.e2e.harness import Farm, Server, wait_until
from tests.e2e.oracle import look, open_reader

EDGE_US = 300_000  # coverage goes by arrival, frames by their making
DECLARED = ("storage-error", "overload-shed")
FPS = 25


@dataclass
class Watcher:
    """Asks the server how its storages are, a few times a second, and what it answers with."""

    server: Server
    states: dict[str, list[str]] = field(default_factory=dict)  # per storage, each as often as it changed
    codes: dict[str, set[str]] = field(default_factory=dict)
    since: dict[tuple[str, str], float] = field(default_factory=dict)  # first seen: (storage, state)
    slowest_s: float = 0.0
    not_ready: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def state(self, storage: str) -> str:
        return self.states.get(storage, [""])[-1]

    def _run(self) -> None:
        while not self._over.wait(0.2):
            began = time.monotonic()
            found = self.server.get("/api/v1/storages")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            for one in found["items"] if found else ():
                name, state = one["name"], one["state"]
                seen = self.states.setdefault(name, [])
                if not seen or seen[-1] != state:
                    seen.append(state)
                    self.since.setdefault((name, state), time.monotonic())
                if one["code"]:
                    self.codes.setdefault(name, set()).add(one["code"])
            self.not_ready |= self._unready()

    def _unready(self) -> set[str]:
        try:
            self.server.get("/readyz", raw=True)
        except urllib.error.HTTPError as error:
            return set(error.read().decode().splitlines())
        return set()


@dataclass
class Manager:
    """Stands for the service manager: takes notices and measures how long it was not told that the server lives."""

    folder: Path
    longest_s: float = 0.0
    fed: int = 0
    status: set[str] = field(default_factory=set)
    _last: float = 0.0
    _over: bool = False

    def __post_init__(self) -> None:
        self.path = self.folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def env(self, limit_s: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(limit_s * 1e6))}

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._over:
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                continue
            if text.startswith("WATCHDOG=1"):
                now = time.monotonic()
                if self.fed:
                    self.longest_s = max(self.longest_s, now - self._last)
                self._last, self.fed = now, self.fed + 1
            elif text.startswith("STATUS="):
                self.status.add(text.removeprefix("STATUS="))


class LiveViewer:
    """Reads a camera's live movie; `longest_s` without a byte."""

    def __init__(self, server: Server, camera: str) -> None:
        self._url = f"http://127.0.0.1:{server.port}/api/v1/cameras/{camera}/live.mp4"
        self.longest_s, self.bytes = 0.0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError, HTTPException), urllib.request.urlopen(self._url, timeout=20) as answer:
            last = time.monotonic()
            while not self._over.is_set() and (data := answer.read1(65536)):
                now = time.monotonic()
                self.longest_s, last = max(self.longest_s, now - last) if self.bytes else 0.0, now
                self.bytes += len(data)


def answer_of(server: Server, path: str) -> tuple[int, float]:
    """Status of a GET and how long it took."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError:
        status = 0
    return status, time.monotonic() - began


def utc(at_s: float) -> str:
    """As the API takes times."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def add_storage(server: Server, name: str, path: Path, *lines: str) -> None:
    server.storage_lines += ("[[storage]]", f'name = "{name}"', f'path = "{path}"', *lines)


def add_camera(server: Server, farm: Farm, number: int, name: str, storage: str = "main") -> None:
    server.add(name, farm.url(number))
    server.hardware[-1] = server.hardware[-1].replace('storage = "main"', f'storage = "{storage}"')


def metric(server: Server, name: str) -> float:
    text = server.get("/metrics", raw=True).decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)


def events(server: Server) -> list[dict[str, object]]:
    """Oldest first."""
    found = server.get("/api/v1/events?limit=500")["items"]
    return sorted(found, key=lambda one: one["id"])


@dataclass
class Account:
    """Of one camera or many: frames by number. `wrong`: what must never be, in words."""

    sent: int = 0
    recorded: int = 0
    lost: int = 0
    declared: int = 0
    loose: int = 0  # lost without the rest of their GOP
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Account) -> None:
        self.sent += other.sent
        self.recorded += other.recorded
        self.lost += other.lost
        self.declared += other.declared
        self.loose += other.loose
        self.wrong += other.wrong


def account(
    farm: Farm, volumes: dict[str, tuple[Path, str]], gop: int, removes: frozenset[str] = frozenset()
) -> dict[str, Account]:
    """Per camera name; `volumes`: camera name -> volume and storage, in the order of the farm's cameras. `removes`: the
    storages where retention may have taken footage."""
    footage = {place: look(*place) for place in set(volumes.values())}
    readers = {place: open_reader(*place) for place in footage}
    out = {}
    for number, (camera, place) in enumerate(volumes.items()):
        found = out[camera] = Account(wrong=list(footage[place].wrong))
        frames = footage[place].frames(camera)
        for line in farm.connections(number):
            if line["dropped"] or line["skipped"]:
                found.wrong.append(f"{camera}: the farm itself left frames out; this run says nothing")
            if line["sent"]:
                _connection(found, frames, line, gop)
        if found.lost and frames:
            also = ("deleted",) if place[1] in removes else ()
            _declared(found, frames, camera, readers[place], (*DECLARED, *also))
    for reader in readers.values():
        reader.close()
    return out


def _connection(found: Account, frames: dict[int, int], line: dict[str, int], gop: int) -> None:
    missing = [n for n in range(line["first"], line["last"] + 1) if n not in frames]
    found.sent += line["last"] + 1 - line["first"]
    found.recorded += line["last"] + 1 - line["first"] - len(missing)
    found.lost += len(missing)
    gone = set(missing)
    # What is shed goes up to a key: behind the last missing frame of a stretch stands one, or the end. A connection
    # begins with one.
    found.loose += sum(1 for n in missing if n + 1 not in gone and n < line["last"] and (n + 1 - line["first"]) % gop)


def _declared(
    found: Account, frames: dict[int, int], camera: str, reader: Reader, words: tuple[str, ...] = DECLARED
) -> None:
    tracks = [
        info.spec.track
        for info in reader.tracks()
        if info.names.camera == camera and info.spec.kind.name == "VIDEO" and info.spec.stream == "main"
    ]
    states = [
        one
        for intervals in reader.coverage(tracks, min(frames.values()), max(frames.values())).values()
        for one in intervals
    ]
    unexplained = [one for one in states if one.cause.state.value == "unexplained"]
    found.wrong += [f"{camera}: {(one.end_us - one.start_us) / 1e6:.2f} s are unexplained" for one in unexplained]
    for (n, before), (m, after) in pairwise(sorted(frames.items())):
        if m == n + 1:
            continue
        low, high = before + EDGE_US, after - EDGE_US
        said = sum(
            max(0, min(one.end_us, high) - max(one.start_us, low)) for one in states if one.cause.state.value in words
        )
        if said >= high - low:
            found.declared += m - n - 1
        else:
            found.wrong.append(f"{camera}: frames {n + 1}..{m - 1} are missing and coverage does not say so")


def total(accounts: Iterator[Account]) -> Account:
    out = Account()
    for one in accounts:
        out.add(one)
    return out


def table(rows: dict[str, object]) -> None:
    """What a scene found, for people, and as one line of JSON."""
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
    print(json.dumps(rows, default=str))


def until_state(watcher: Watcher, storage: str, state: str, seconds: float = 40) -> None:
    wait_until(lambda: watcher.state(storage) == state, seconds, lambda: f"{storage}: {watcher.states}")


@contextlib.contextmanager
def frozen(*disks: Disk) -> Iterator[None]:
    for disk in disks:
        disk.freeze()
    try:
        yield
    finally:
        for disk in disks:
            disk.thaw()


def every_second(seconds: float, look_at: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        look_at()
        time.sleep(min(1.0, left))
