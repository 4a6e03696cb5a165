"""What was said of identities is there after a cut of power: volumes bear the same names, and are never ahead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recorderd.core.clock import FakeClock
from recorderd.state.database import FILE_NAME, StateDb
from recorderd.state.identities import Identities
from tests import disks

CHILD = """
import asyncio, sys, uuid
from pathlib import Path
from recorderd.core.clock import FakeClock
from recorderd.state.database import StateDb
from recorderd.state.identities import Identities

async def main():
    database = await StateDb.open(Path(sys.argv[1]))
    identities = Identities(database, FakeClock())
    print(await identities.hardware("rtsp", "rtsp://camera/1"), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def told_and_cut(disk: disks.Disk) -> str:
    """A process makes an identity and says it; then the power goes."""
    argv = [sys.executable, "-c", CHILD, str(disk.mount / FILE_NAME)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        told = child.stdout.readline().strip()
        disk.cut()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    disk.revive()
    return told


@pytest.mark.disks
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_an_identity_survives_a_cut_of_power(tmp_path: Path, kind: str) -> None:
    disks.need()
    with disks.Disk(tmp_path / "disk", kind) as disk:
        told = told_and_cut(disk)
        assert told
        database = await StateDb.open(disk.mount / FILE_NAME)
        try:
            assert str(await Identities(database, FakeClock()).hardware("rtsp", "rtsp://camera/1")) == told
        finally:
            await database.close()
