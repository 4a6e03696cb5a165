"""`recorderd demo`: a camera farm and a recording server as child processes, and a page that shows both.

Law: starts the same programs a user would start, with a configuration file it writes; knows nothing of the server's
inside. With --for it ends by itself and judges the recording against what the farm says it sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import aiohttp

from recorderd.cli.demo_judge import Interview, interview, outcomes
from recorderd.cli.demo_scene import SCENE, complaints
from recorderd.core.errors import UnavailableError
from recorderd.core.timerange import parse_duration

_FARM_START_S = 60
_SERVER_START_S = 30
_STOP_S = 8


class Child:
    """A child process of the demo: started, waited for, ended by its own id."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process

    @classmethod
    async def start(cls, name: str, argv: list[str], log: Path) -> Child:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops farm and server in order.
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=errors, start_new_session=True,
            )  # fmt: skip
        return cls(name, process)

    async def first_line(self, timeout_s: float) -> dict[str, object]:
        """The first line of its output as JSON; raises UnavailableError when it dies or stays silent."""
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), timeout_s)
        except TimeoutError:
            line = b""
        if not line:
            raise UnavailableError(f"the demo's {self.name} did not start; read its log")
        found: dict[str, object] = json.loads(line)
        return found

    async def stop(self) -> int:
        """SIGTERM, then after a while SIGKILL; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.communicate(), _STOP_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        return self.process.returncode or 0


def free_port(wanted: int) -> int:
    """`wanted` when it is free, else the next free one; 0 takes any."""
    for port in [0] if wanted == 0 else range(wanted, min(wanted + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError(f"no free port from {wanted} on; give another with --port")


def configuration(folder: Path, http_port: int, farm_port: int) -> str:
    """The demo server's recorderd.toml."""
    lines = [
        "[server]", 'name = "demo"', f"data_dir = {json.dumps(str(folder / 'data'))}", "",
        "[http]", f'listen = "127.0.0.1:{http_port}"', "",
        "[[storage]]", 'name = "demo"', f"path = {json.dumps(str(folder / 'video'))}", 'max_size = "4GB"', "",
    ]  # fmt: skip
    for number, camera in enumerate(SCENE):
        lines += [
            "[[hardware]]", f'name = "{camera.name}"', 'driver = "rtsp"',
            f'address = "rtsp://127.0.0.1:{farm_port}/cam/{number}"', 'username = "demo"',
            f"password = {{ file = {json.dumps(str(folder / 'password'))} }}", 'storage = "demo"', "",
        ]  # fmt: skip
    return "\n".join(lines)


async def start_farm(folder: Path) -> tuple[Child, int]:
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(12))
    argv = [
        "recorderd.simulate", "--cameras", str(len(SCENE)), "--port", "0", "--user", "demo",
        "--password-file", str(password), "--size", "640x360", "--bitrate", "800k", "--gop", "25",
        "--log", str(folder / "farm.jsonl"), "--stdin-eof",
    ]  # fmt: skip
    for number, camera in enumerate(SCENE):
        if camera.faults:
            argv += ["--fault", f"cam/{number}={','.join(camera.faults)}"]
    farm = await Child.start("camera farm", argv, folder / "farm.log")
    try:
        listening = (await farm.first_line(_FARM_START_S))["listening"]
    except BaseException:
        await farm.stop()
        raise
    assert isinstance(listening, dict)
    return farm, int(listening["port"])


async def start_server(folder: Path, http_port: int, farm_port: int) -> Child:
    (folder / "video").mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    config = folder / "recorderd.toml"
    config.write_text(configuration(folder, http_port, farm_port))
    server = await Child.start("server", ["recorderd", "run", "--config", str(config)], folder / "server.log")
    try:
        await _ready(server, http_port, folder / "server.log")
    except BaseException:
        await server.stop()
        raise
    return server


async def _ready(server: Child, port: int, log: Path) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SERVER_START_S
    async with aiohttp.ClientSession() as http:
        while loop.time() < deadline and server.process.returncode is None:
            try:
                async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet; the deadline bounds the tries
            await asyncio.sleep(0.1)
    raise UnavailableError(f"the demo's server did not start; its log ends with:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _until_stopped(duration_s: float | None, children: list[Child]) -> str:
    """Wait for the time given, a signal, or the death of a child; says which."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    end = None if duration_s is None else loop.time() + duration_s
    while not stop.is_set():
        for child in children:
            if child.process.returncode is not None:
                return f"the demo's {child.name} ended by itself with status {child.process.returncode}"
        left = 0.5 if end is None else min(0.5, end - loop.time())
        if left <= 0:
            return ""
        try:
            await asyncio.wait_for(stop.wait(), left)
        except TimeoutError:
            pass  # look again at clock and children
    return "" if duration_s is None else "stopped before its time"


async def _play(args: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> int:
    port = free_port(args.port)
    say("starting six simulated cameras (the first start makes their pictures) ...")
    farm, farm_port = await start_farm(folder)
    try:
        server = await start_server(folder, port, farm_port)
    except BaseException:
        await farm.stop()
        raise
    say(f"recorderd is at http://127.0.0.1:{port}/   (data in {folder}; Ctrl-C ends it)")
    asked: Interview | None = None
    try:
        seconds = None if args.duration is None else parse_duration(args.duration) / 1e6
        trouble = await _until_stopped(seconds, [farm, server])
        if seconds is not None and not trouble:
            asked = await interview(port)
    finally:
        await farm.stop()
        # What the farm sent last is on its way: the server reads it, sees the end and commits before it stops.
        await asyncio.sleep(1)
        status = await server.stop()
    if status and not trouble:
        trouble = f"the server ended with status {status}; its log is {folder / 'server.log'}"
    if trouble:
        say(trouble)
        return 1
    return 0 if asked is None else report(folder, asked, args.json, say)


def report(folder: Path, asked: Interview, as_json: bool, say: Callable[[str], None]) -> int:
    """Print what came out and judge it; 0 when nothing was lost without a fault and every fault has its cause."""
    found = outcomes(folder, asked)
    wrong = [text for camera, outcome in zip(SCENE, found, strict=True) for text in complaints(camera, outcome)]
    for outcome in found:
        say(
            f"  {outcome.name:10} fault {outcome.fault:14} sent {outcome.sent:5} committed {outcome.committed:5} "
            f"lost {len(outcome.missing):4}  {', '.join(outcome.causes)}"
        )
    for text in wrong:
        say(f"  WRONG {text}")
    if as_json:
        healthy = [outcome for camera, outcome in zip(SCENE, found, strict=True) if not camera.expected]
        lost = sum(len(outcome.missing) for outcome in healthy)
        print(json.dumps({"healthy": not wrong, "lost": lost, "cameras": [outcome.as_json() for outcome in found]}))
    return 1 if wrong else 0


def main(args: argparse.Namespace) -> int:
    """Entry from the command line; `args` carries duration, port, dir, json."""

    def say(text: str) -> None:
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    try:
        if args.dir is not None:
            Path(args.dir).mkdir(parents=True, exist_ok=True)
            return asyncio.run(_play(args, Path(args.dir).resolve(), say))
        with tempfile.TemporaryDirectory(prefix="recorderd-demo-", ignore_cleanup_errors=True) as folder:
            return asyncio.run(_play(args, Path(folder), say))
    except UnavailableError as error:
        say(str(error))
        return 1
