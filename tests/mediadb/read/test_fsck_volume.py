"""fsck on the volume itself: VOLUME made again from the logs, and a log whose daemon runs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Recorder, spec

from mediadb.fs import RealFs
from mediadb.locks import create_volume, read_volume
from mediadb.tools.main import main

pytestmark = pytest.mark.fast
CAM = spec(1)
SOUND: dict[str, object] = {"problems": [], "repaired": [], "left": [], "notes": [], "quarantined": 0}


def fsck(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main(["fsck", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 4
    path.write_bytes(raw)


def contents(volume: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in volume.rglob("*") if path.is_file()}


@pytest.mark.parametrize("harm", ["flip", "empty", "missing", "LOG too"])
def test_volume_is_made_again(harm: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = read_volume(RealFs(), finished).volume
    if harm == "missing":
        (finished / "VOLUME").unlink()
    elif harm == "empty":
        (finished / "VOLUME").write_bytes(b"")
    else:
        flip(finished / "VOLUME", 20)
    if harm == "LOG too":
        for log in finished.rglob("LOG"):
            log.write_bytes(bytes(log.stat().st_size))  # the segments still know
    before = contents(finished)
    code, out = fsck(capsys, finished)
    count = 2 if harm == "LOG too" else 1
    assert (code, len(out["left"])) == (1, count)
    assert str(known) in out["left"][0]
    assert contents(finished) == before
    code, out = fsck(capsys, finished, "--repair")
    assert (code, len(out["repaired"]), out["left"]) == (0, count, [])
    assert read_volume(RealFs(), finished).volume == known
    assert fsck(capsys, finished) == (0, SOUND)


def test_what_nothing_tells_is_not_invented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_volume(RealFs(), tmp_path, 0)
    flip(tmp_path / "VOLUME", 20)
    before = contents(tmp_path)
    assert main(["fsck", str(tmp_path), "--repair"]) == 1
    assert "backup" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_logs_of_two_volumes_decide_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mediadb.format.identity import LogIdentity, encode_log_slot

    other = LogIdentity(1, uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), 1, 1, 0)
    folder = finished / "log" / "other" / str(other.log)
    folder.mkdir(parents=True)
    (folder / "LOG").write_bytes(encode_log_slot(other).ljust(8192, bytes(1)))
    flip(finished / "VOLUME", 20)
    before = (finished / "VOLUME").read_bytes()
    code, out = fsck(capsys, finished, "--repair")
    assert code == 1
    assert str(other.volume) in out["left"][0]
    assert (finished / "VOLUME").read_bytes() == before


def test_a_healthy_log_in_use_is_no_problem_and_damage_in_it_is(
    recorder: Callable[..., Recorder], volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = recorder()
    live.film(12, CAM)
    code, out = fsck(capsys, volume)
    assert (code, out["problems"], out["left"]) == (0, [], [])
    assert len(out["notes"]) == 1
    assert "in use" in out["notes"][0]
    sealed = next(volume.rglob("*.rseg"))
    flip(sealed, sealed.stat().st_size - 9)
    assert fsck(capsys, volume)[0] == 1
    before = sealed.read_bytes()
    code, out = fsck(capsys, volume, "--repair")
    assert (code, len(out["left"])) == (1, 1)
    assert "in use" in out["left"][0]
    assert sealed.read_bytes() == before
    live.stop()
