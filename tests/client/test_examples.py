"""The example programs as processes, against the real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cutting import cutting
from footage_rig import Recipe, number_of, record

from tests.server.server_scene import CAMERAS, T0, S
from tests.stream_tcp.stream_scene import StreamScene, stream_scene

ROOT = Path(__file__).resolve().parents[2]
NIGHT = Recipe(CAMERAS["gate"], T0 - 7200 * S, 1200, fps=5, gop=10, size=1400, holes=((3_000, 3_500),), commit_s=2)


def rfc3339(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[StreamScene]:
    await asyncio.to_thread(record, folder / "volume", [NIGHT])
    async with stream_scene(folder) as scene:
        yield scene


async def start(program: str, port: int, *words: object) -> asyncio.subprocess.Process:
    argv = [str(ROOT / "examples" / program), "--server", f"127.0.0.1:{port}", *map(str, words)]
    return await asyncio.create_subprocess_exec(
        sys.executable, *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


async def run(program: str, port: int, *words: object) -> tuple[int, str, str]:
    process = await start(program, port, *words)
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def copied(folder: Path) -> list[int]:
    """Picture numbers in the copy, by its log and its bytes, every byte compared."""
    found = []
    for text in (folder / "gate-video.jsonl").read_text().splitlines():
        line: dict[str, Any] = json.loads(text)
        data = (folder / line["file"]).read_bytes()[line["at"] : line["at"] + line["bytes"]]
        at = 0
        while at < len(data):
            size = 4 + int.from_bytes(data[at : at + 4], "big")
            number = number_of(data[at : at + size])
            assert data[at : at + size] == NIGHT.data(number)
            found.append(number)
            at += size
    return found


async def test_a_night_is_copied_through_a_cut_and_a_kill(tmp_path: Path) -> None:
    """Cut once, killed once while it copies, then run again: every picture once, and checked against its hash."""
    night = tmp_path / "night"
    words = ("gate", "--start", rfc3339(NIGHT.start_us), "--end", rfc3339(NIGHT.time_us(NIGHT.frames)), "-o", night,
             "--sync-mb", 1)  # fmt: skip
    wanted = [number for number in range(NIGHT.frames) if not NIGHT.missing(number)]
    async with serving(tmp_path) as scene:
        port = scene.server.addresses[0][1]
        async with cutting(port, [2_000_000], stall=3_000_000) as proxy:
            process = await start("copy_night.py", proxy.port, *words)
            async with asyncio.timeout(60):
                await proxy.stalled.wait()
            process.send_signal(signal.SIGKILL)
            await process.communicate()
            assert len(proxy.passed) == 2
        before = copied(night)
        assert before == wanted[: len(before)]
        assert 0 < len(before) < len(wanted)
        status, out, err = await run("copy_night.py", port, *words)
        assert (status, err) == (0, ""), err
        assert f"{len(wanted)} frames" in out
        assert copied(night) == wanted
        movie = night / "gate-video.mp4"
        size = movie.stat().st_size
        assert (await run("copy_night.py", port, *words))[0] == 0
        assert (movie.stat().st_size, len(copied(night))) == (size, len(wanted))
        other = (*words[:4], rfc3339(NIGHT.time_us(5)), *words[5:])
        assert (await run("copy_night.py", port, *other))[0] == 2
        with movie.open("r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 1]))
        status, _, err = await run("copy_night.py", port, *words)
        assert status == 1
        assert "SHA-256" in err


async def test_events_are_followed_from_one_start_to_the_next(tmp_path: Path) -> None:
    state = tmp_path / "last"
    async with stream_scene(tmp_path) as scene:
        port = scene.server.addresses[0][1]
        for n in range(5):
            scene.deps.events.emit("test", params={"n": n})
        await scene.deps.events.flush()
        words = ("--after", 0, "--json", "--state", state)
        status, out, _ = await run("follow_events.py", port, *words, "--count", 3)
        assert status == 0
        assert [json.loads(line)["params"]["n"] for line in out.splitlines()] == [0, 1, 2]
        status, out, _ = await run("follow_events.py", port, *words, "--count", 2)
        assert [json.loads(line)["params"]["n"] for line in out.splitlines()] == [3, 4]
        process = await start("follow_events.py", port)
        process.terminate()
        await process.communicate()


async def test_exit_codes(tmp_path: Path) -> None:
    async with stream_scene(tmp_path) as scene:
        port = scene.server.addresses[0][1]
        output = ("-o", tmp_path / "x.mp4")
        assert (await run("record_to_mp4.py", port, "nobody", *output))[0] == 1
        assert (await run("record_to_mp4.py", port, "gate", *output, "--start", "-1h"))[0] == 2
        assert (await run("record_to_mp4.py", port, "gate", *output, "--start", "yesterday", "--end", "now"))[0] == 2
    assert (await run("record_to_mp4.py", port, "gate", *output))[0] == 3
    for program in ("record_to_mp4.py", "copy_night.py", "follow_events.py"):
        status, out, _ = await run(program, port, "--help")
        assert status == 0
        assert "--server" in out
