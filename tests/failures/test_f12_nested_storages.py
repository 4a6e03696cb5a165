"""12. Two storages in one folder, or one inside the other.

Elsewhere each removed the other's files to keep its own limits. Ours: the configuration is refused, in words, however
the paths are written (links and bind mounts: tests/config/test_config_places.py), and retention takes only what its own
log made.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import rig
from rig import Rig

from mediadb.fs import RealFs
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer
from recorderd.config.load import load, look_nowhere


@pytest.mark.fast
@pytest.mark.parametrize(("first", "second"), [("v", "v"), ("v", "v/inner"), ("v/inner", "link"), ("link", "v")])
def test_the_configuration_is_refused_in_words(first: str, second: str, tmp_path: Path) -> None:
    (tmp_path / "v" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "v")
    (tmp_path / "recorderd.toml").write_text(
        "".join(
            f'[[storage]]\nname = "{name}"\npath = "{tmp_path / path}"\nretention = "1d"\n'
            for name, path in (("one", first), ("two", second))
        )
    )
    result = load(tmp_path / "recorderd.toml", {}, look_nowhere, {})
    assert result.config is None
    assert any("give each its own" in str(error) for error in result.errors)


def test_retention_takes_nothing_that_another_log_made(tmp_path: Path) -> None:
    root = tmp_path / "v"
    run = Rig(RealFs(), root=root)
    for second in range(12):
        run.frames(second * 25, 25)
        run.commit()
    assert run.close() == []
    sealed = sorted(run.log.folder.rglob("*.rseg"))
    other = sealed[0].with_name("20231114T000000Z-00000001-000099.rseg")  # a copy, as a second storage would find it
    other.write_bytes(sealed[0].read_bytes())
    free = (1 << 40, 1 << 40)
    ledger = Rig(RealFs(), root=root, start_us=rig.T0 + 60_000_000).writer.ledger
    reclaimer = Reclaimer(
        RealFs(), run.log.folder, ledger, ReclaimOptions(quota_bytes=1), lambda: free, ClockBrake(None)
    )
    report = reclaimer.step(rig.T0 + 60_000_000, 60_000_000)
    assert [removal.fact.path for removal in report.removed] == sealed
    assert other.exists()
