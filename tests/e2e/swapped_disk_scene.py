"""Another disk is mounted where a storage's own was: an older copy, another server's, an empty one.

By hand: python -m tests.e2e.swapped_disk_scene --cameras 6 --for 20    (make scene S=swapped-disk)
What must hold: each is refused in its own words, nothing is written to it and nothing removed from it; meanwhile frames
wait in memory or go to the storage that stands in; with the right disk back everything is one film, nothing lost.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.disks import Disk, run
from tests.e2e.harness import run_mediadb
from tests.e2e.lost_mount_scene import Plan, Stage, command, content, in_its_place


def play(folder: Path, plan: Plan) -> Stage:
    with ExitStack() as stack:
        stage = Stage(folder, plan, stack)
        strange = stack.enter_context(Disk(folder / "strange"))
        done = run_mediadb("init", str(strange.mount))
        stage.check(done.returncode == 0, done.stderr)
        copies = {name: stack.enter_context(Disk(folder / f"older-{name}")) for name in ("alone", "guarded")}
        for name, copy in copies.items():
            run("cp", "-a", f"{stage.disks[name].mount}/.", copy.mount)
        time.sleep(2)
        for name in copies:
            stage.take(name)
        empty = folder / "empty"
        empty.mkdir()
        disks = {"storage-older": None, "storage-foreign": strange.mount, "storage-missing": empty}
        for code, disk in disks.items():
            with ExitStack() as swapped:
                before = {}
                for name, copy in copies.items():
                    mount = stage.disks[name].mount
                    swapped.enter_context(in_its_place(disk or copy.mount, mount))
                    before[name] = content(mount)
                for name in copies:
                    stage.until_code(name, code)
                time.sleep(max(0.5, plan.seconds / 10))
                for name in copies:
                    changed = set(content(stage.disks[name].mount)) ^ set(before[name])
                    stage.check(not changed, f"{name}: {code}: the disk was changed: {sorted(changed)}")
        stage.rows["refused"] = ", ".join(disks)
        for name in copies:
            stage.disks[name].attach()
        stage.finish()
        return stage


def main(argv: list[str]) -> int:
    return command(argv, __doc__, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
