"""`recorderd check-config`: every finding with its place, exit code 2, nothing touched."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from mediadb.aio import AsyncStore
from mediadb.write.commits import StoreOptions
from recorderd.cli import daemon_cli
from recorderd.cli.daemon_cli import main
from recorderd.core.clock import FakeClock
from recorderd.state.database import StateDb
from recorderd.state.identities import Identities, KnownVolume

ROOT = Path(__file__).resolve().parents[2]


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below: names, times of change, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mtime_ns, status.st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def write(folder: Path, *storages: str, more: str = "") -> Path:
    text = f'[server]\ndata_dir = "{folder}/data"\n'
    for number, path in enumerate(storages):
        text += f'[[storage]]\nname = "s{number}"\npath = "{path}"\nmax_size = "1GB"\n'
    file = folder / "recorderd.toml"
    file.write_text(text + more)
    return file


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """Exit code, errors, warnings; and nothing below the file's folder may have changed."""
    before = snapshot(file.parent)
    code = main(["check-config", str(file), "--json"])
    assert snapshot(file.parent) == before
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"] is (code == 0)
    shown = [[f"{one['path']}: {one['message']}" for one in answer[kind]] for kind in ("errors", "warnings")]
    return code, shown[0], shown[1]


class Quiet:
    """A listener that hears nothing."""

    def committed(self, info: object) -> None: ...
    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None: ...
    def trouble(self, code: str, params: dict[str, object]) -> None: ...


def make_volume(path: Path, storage: str, server: uuid.UUID) -> uuid.UUID:
    """A volume with one log of that server."""

    async def make() -> uuid.UUID:
        options = StoreOptions(create=True)
        store = await AsyncStore.open(
            path, storage, server=server, clock=FakeClock(), options=options, listener=Quiet()
        )
        await store.close()
        return store.volume_id

    with asyncio.Runner() as runner:
        return runner.run(make())


async def remember(folder: Path, server: uuid.UUID, name: str, volume: uuid.UUID) -> None:
    (folder / "data").mkdir()
    db = await StateDb.open(folder / "data" / "state.db")
    identities = Identities(db, FakeClock())
    await identities.server(server)
    await identities.remember_volume(KnownVolume(name, volume, "/somewhere", 1))
    await db.close()


async def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "video").mkdir()
    assert check(write(tmp_path, f"{tmp_path}/video"), capsys) == (0, [], [])
    assert main(["check-config", str(tmp_path / "recorderd.toml")]) == 0
    assert "is valid: 1 storage(s), 0 camera(s)" in capsys.readouterr().out


async def test_storages_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    paths = [f"{tmp_path}/{name}" for name in ("a", "a/inner", "absent", "file")]
    code, errors, _ = check(write(tmp_path, *paths), capsys)
    assert code == 2
    assert [error.partition(": ")[0] for error in errors] == [f"storage[{number}].path" for number in (1, 2, 3)]
    for error, words in zip(errors, ("inside each other", "does not exist", "is not a folder"), strict=True):
        assert words in error


async def test_an_unwritable_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video").mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write everywhere: ask as the kernel would answer somebody else
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    code, errors, _ = check(write(tmp_path, f"{tmp_path}/video"), capsys)
    assert code == 2
    assert "cannot be written by this user" in errors[0]


async def test_a_foreign_storage_names_its_owner_and_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = uuid.uuid4()
    volume = await asyncio.to_thread(make_volume, tmp_path / "video", "s0", other)
    file = write(tmp_path, f"{tmp_path}/video")
    await remember(tmp_path, uuid.uuid4(), "s0", volume)
    code, errors, _ = check(file, capsys)
    assert code == 2
    assert f"belongs to server {other}" in errors[0]
    assert f'[server] id = "{other}"' in errors[0]
    file.write_text(file.read_text().replace("[server]\n", f'[server]\nid = "{other}"\n'))
    assert check(file, capsys)[:2] == (0, [])


async def test_another_disk_and_an_empty_mount_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = uuid.uuid4()
    (tmp_path / "video").mkdir()
    file = write(tmp_path, f"{tmp_path}/video")
    await remember(tmp_path, server, "s0", uuid.uuid4())
    assert "is it mounted?" in check(file, capsys)[1][0]
    await asyncio.to_thread(make_volume, tmp_path / "video", "s0", server)
    assert "belongs to volume" in check(file, capsys)[1][0]
    (tmp_path / "video" / "VOLUME").write_bytes(b"\xff" * 64)
    assert "VOLUME does not verify" in check(file, capsys)[1][0]


async def test_a_storage_that_the_unit_closes_is_warned_about_with_the_drop_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorderd.daemon import inspect

    unit = (ROOT / "systemd" / "recorderd.service").read_text()
    monkeypatch.setattr(inspect, "unit_texts", lambda: [unit])
    (tmp_path / "video").mkdir()
    code, _, warnings = check(write(tmp_path, f"{tmp_path}/video"), capsys)
    assert code == 0
    assert f"ReadWritePaths={tmp_path}/video" in warnings[0]


async def test_everything_at_once_and_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = '[http]\nlisten = "0.0.0.0:80"\n[rules]\n[[hardware]]\nname = "x"\ndriver = "rtps"\naddress = "a"\n'
    file = write(tmp_path, f"{tmp_path}/absent", more=more + "record = 'motion'\n")
    assert main(["check-config", str(file)]) == 2
    out = capsys.readouterr().out
    for words in (
        "error: http.listen: ", "error: rules: [rules] is not built yet", "error: storage[0].path: ",
        "error: hardware[0].driver: unknown driver 'rtps'; did you mean 'rtsp'?",
        "error: hardware[0].record: 'motion' is not built yet",
    ):  # fmt: skip
        assert words in out


def test_the_real_drivers_are_found_and_their_keys_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "video").mkdir()
    more = '[[hardware]]\nname = "x"\ndriver = "rtsp"\naddress = "rtsp://192.0.2.1/"\ntransport = "{}"\n'
    code, errors, _ = check(write(tmp_path, f"{tmp_path}/video", more=more.format("pigeon")), capsys)
    assert code == 2
    assert errors[0].startswith("hardware[0].transport: ")
    assert "not one of" in errors[0]
    for transport in ("tcp", "udp", "auto"):
        assert check(write(tmp_path, f"{tmp_path}/video", more=more.format(transport)), capsys)[0] == 0


def test_usage() -> None:
    for argv in ([], ["nope"], ["demo", "--for", "soon"], ["demo", "--port", "x"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 2


def test_demo_is_called_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    from recorderd.cli import demo

    seen = []
    monkeypatch.setattr(demo, "main", lambda args: seen.append(args) or 7)
    assert main(["demo", "--for", "30s", "--port", "0", "--json"]) == 7
    assert (seen[0].duration, seen[0].port, seen[0].dir, seen[0].json) == ("30s", 0, None, True)


def test_simulate_becomes_the_farm(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(daemon_cli.os, "execv", lambda path, argv: seen.append(argv))
    monkeypatch.setattr(sys, "argv", ["recorderd"])
    with pytest.raises(SystemExit):  # only because execv came back
        main(["simulate", "--cameras", "3"])
    assert seen == [[sys.executable, "-m", "recorderd.simulate", "--cameras", "3"]]


def test_help_of_the_programs() -> None:
    for argv in (["recorderd", "--help"], ["recorderd.cli.ctl", "--help"]):
        done = subprocess.run([sys.executable, "-m", *argv], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert "usage: " in done.stdout
