"""A daemon as a child process with one synthetic camera, for the tests of this folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANARY = "canary-7Xq2-secret"


class DaemonProcess:
    """`recorderd run` in a folder of its own; the port is read from its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "recorderd.toml"
        self.log = folder / "log"
        self.hardware = [self.synthetic("gate")]
        self.storage_path = folder / "video"
        self.storage_path.mkdir()
        (folder / "password").write_text(CANARY)
        (folder / "password").chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None
        self.base = ""
        self.server = ""  # further lines of [server]

    def synthetic(self, name: str, more: str = "") -> str:
        """A camera that wants the canary as its password."""
        return (
            f'[[hardware]]\nname = "{name}"\ndriver = "synthetic"\naddress = "synthetic://{name}"\nusername = "u"\n'
            f'password = {{ file = "{self.folder}/password" }}\ndemands = "{CANARY}"\n{more}'
        )

    def write(self) -> None:
        text = f'[server]\ndata_dir = "{self.folder}/data"\n{self.server}[http]\nlisten = "127.0.0.1:0"\n'
        text += f'[[storage]]\nname = "main"\npath = "{self.storage_path}"\nmax_size = "1GB"\ncommit = "250ms"\n'
        self.config.write_text(text + "\n".join(self.hardware))

    def start(self, env: dict[str, str] | None = None, **popen: Any) -> DaemonProcess:
        self.write()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recorderd", "run", "--config", str(self.config)],
                stderr=log, stdout=log, env={**os.environ, **(env or {})}, **popen,
            )  # fmt: skip
        (line,) = self.wait_for(lambda: [one for one in self.lines() if one.get("event") == "listening"])
        self.base = f"http://{line['http'][0]}"
        return self

    def lines(self) -> list[dict[str, Any]]:
        """The log so far: JSON lines."""
        found = []
        for text in self.log.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:
                found.append({"event": "text", "text": text})
        return found

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("event") == event]

    def wait_for(self, ready: Callable[[], Any], seconds: float = 60) -> Any:
        """Poll for a state of another process; the limit only bounds a failure."""
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            assert self.process is None or self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)
        return found

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}/api/v1/{path}", timeout=60) as answer:
            return json.load(answer)

    def camera(self, name: str = "gate") -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"cameras/{name}")
        return found

    def recording(self, name: str = "gate") -> bool:
        return self.camera(name)["recording"]["last_committed"] is not None

    def post(self, path: str) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.base}/api/v1/{path}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
