"""Real programs for scenes: a camera farm and a recording server, each a child process on loopback.

Nothing here looks inside the server: what was sent comes from the farm's log, what is there from files and the API.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "canary-7Xq2-secret"  # must never be seen outside the files that hold it
_MARKER = re.compile(rb"RDS1 cam=(\d+) n=(\d+) us=(\d+) crc=([0-9a-f]{8}) key=([01])")


def _start(argv: list[str], log: Path, env: dict[str, str] | None = None, tree: Path = ROOT) -> subprocess.Popen[bytes]:
    python = sys.executable if tree == ROOT else str(tree / ".venv/bin/python")
    with log.open("ab") as errors:
        return subprocess.Popen(
            [python, "-m", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=tree,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes], timeout_s: float = 15) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode


@dataclass
class Farm:
    """Simulated cameras at rtsp://127.0.0.1:port/cam/0 ..."""

    folder: Path
    cameras: int
    options: list[str] = field(default_factory=list)
    user: bool = True
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> Farm:
        password = self.folder / "farm-password"
        password.write_text(PASSWORD)
        argv = ["recorderd.simulate", "--cameras", str(self.cameras), "--port", str(self.port), "--stdin-eof"]
        argv += ["--log", str(self.folder / "farm.jsonl")]
        if self.user:
            argv += ["--user", "admin", "--password-file", str(password)]
        self.process = _start([*argv, *self.options], self.folder / "farm.log")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.folder / "farm.log").read_text()
        self.port = json.loads(line)["listening"]["port"]
        return self

    def stop(self) -> None:
        if self.process is not None:
            assert _end(self.process) == 0, (self.folder / "farm.log").read_text()
            self.process = None

    def connections(self, camera: int | None = None) -> list[dict[str, Any]]:
        """The farm's log: one entry per connection that ended."""
        lines = [json.loads(line) for line in (self.folder / "farm.jsonl").read_text().splitlines()]
        return [line for line in lines if camera is None or line["camera"] == camera]

    def url(self, camera: int) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam/{camera}"


@dataclass
class Server:
    """`recorderd run` with a configuration file of its own."""

    folder: Path
    hardware: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    started_s: float = 0.0
    further: tuple[str, ...] = ()  # of "stream" and "rtsp": servers beside HTTP, at `ports`
    ports: dict[str, int] = field(default_factory=dict)
    program: tuple[str, ...] = ("recorderd",)  # the module and its own arguments, in front of `run`
    storage_lines: tuple[str, ...] = ()  # further keys of [[storage]]
    main_storage: str = "main"  # its name
    video: Path | None = None  # elsewhere than in `folder`
    data: Path | None = None
    tree: Path = ROOT  # another working copy with a .venv of its own: that one's server

    def __post_init__(self) -> None:
        self.volume.mkdir(parents=True, exist_ok=True)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "camera-password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)

    @property
    def volume(self) -> Path:
        return self.video or self.folder / "video"

    @property
    def data_dir(self) -> Path:
        return self.data or self.folder / "data"

    def add(self, name: str, url: str, *lines: str, user: bool = True) -> None:
        """One hardware with one camera of the same name."""
        rows = ["[[hardware]]", f'name = "{name}"', 'driver = "rtsp"', f'address = "{url}"', 'storage = "main"']
        if user:
            rows += ['username = "admin"', f'password = {{ file = "{self.folder}/camera-password" }}']
        self.hardware.append("\n".join([*rows, *lines]))

    def write_config(self) -> Path:
        path = self.folder / "recorderd.toml"
        head = f'[server]\nname = "e2e"\ndata_dir = "{self.data_dir}"\n[http]\nlisten = "127.0.0.1:{self.port}"\n'
        head += "".join(f'[{name}]\nlisten = "127.0.0.1:{port}"\n' for name, port in self.ports.items())
        rows = ["[[storage]]", f'name = "{self.main_storage}"', f'path = "{self.volume}"', *self.storage_lines, ""]
        head += "\n".join(rows)
        path.write_text(head + "\n\n".join(self.hardware) + "\n")
        return path

    def start(self, env: dict[str, str] | None = None, wait: bool = True) -> Server:
        if self.port == 0:
            from recorderd.cli.demo import free_port

            self.port = free_port(0)
            self.ports = {name: free_port(0) for name in self.further}
        config = self.write_config()
        self.started_s = time.time()
        self.process = _start(
            [*self.program, "run", "--config", str(config)], self.folder / "server.log", env, self.tree
        )
        if wait:
            wait_until(lambda: self.alive() and self.get("/healthz", raw=True) is not None, 20, self.log)
        return self

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}\n{self.log()}"
        return True

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()
        self.process = None

    def stop(self) -> int:
        assert self.process is not None
        status = _end(self.process)
        self.process = None
        return status

    def get(self, path: str, raw: bool = False, headers: dict[str, str] | None = None) -> Any:
        """The answer's JSON (or bytes), None when the server cannot be reached; raises on a 4xx or 5xx."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            return None
        return body if raw else json.loads(body)

    def cameras(self) -> dict[str, dict[str, Any]]:
        return {item["name"]: item for item in self.get("/api/v1/cameras")["items"]}

    def recording(self) -> int:
        """How many cameras have something committed."""
        return sum(1 for item in self.cameras().values() if item["recording"]["last_committed"])

    def ctl(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "recorderd.cli.ctl", "--server", f"http://127.0.0.1:{self.port}", *argv],
            capture_output=True, text=True, cwd=ROOT, timeout=120,
        )  # fmt: skip


def wait_until(ready: Any, timeout_s: float, explain: Any = lambda: "") -> None:
    """Poll until ready() is true; fail with explain() when it never is."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"not ready after {timeout_s} s\n{explain()}"
        time.sleep(0.05)


@contextmanager
def running(*things: Any) -> Iterator[None]:
    """Whatever happens, no child process outlives the scene."""
    try:
        yield
    finally:
        for thing in things:
            if thing.process is not None:
                thing.process.kill()
                thing.process.communicate()


def marker(sample: bytes, h265: bool = False) -> tuple[int, int] | None:
    """(camera, frame number) of a sample in MP4 form after checking its CRC; None when it carries no marker.
    Written from the marker's description alone, not from the product's parser."""
    offset, found, crc = 0, None, 0
    while offset < len(sample):
        size = int.from_bytes(sample[offset : offset + 4], "big")
        nal = sample[offset + 4 : offset + 4 + size]
        assert len(nal) == size, "a NAL unit is cut"
        offset += 4 + size
        kind = (nal[0] >> 1) & 63 if h265 else nal[0] & 31
        if kind == (39 if h265 else 6) and (match := _MARKER.search(nal)):
            found = match
        elif kind < 32 if h265 else 1 <= kind <= 5:
            crc = zlib.crc32(nal, crc)
    if found is None:
        return None
    assert int(found[4], 16) == crc, f"frame {found[2]!r}: its picture is not what was sent"
    return int(found[1]), int(found[2])


def mp4_samples(path: Path, track: str = "video") -> list[bytes]:
    """Samples of the first video (or audio) track of an MP4, in decode order, by PyAV."""
    import av

    with av.open(str(path)) as container:
        stream = getattr(container.streams, track)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def run_mediadb(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mediadb.tools.main", *argv], capture_output=True, text=True, cwd=ROOT)
