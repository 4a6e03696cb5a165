"""Run the whole test suite: first say which groups can run, install what is missing when root, then pytest.

Groups that need a system package are skipped with the command that would enable them; with CI=true a missing
group is a failure. Tests that start daemons run after the others, two at a time; those that judge losses against
time run last and one at a time, so that they have the machine.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "tests" / "system-packages.txt"
ALONE = "alone or crash"


def requirements() -> list[tuple[str, str, str]]:
    """(group, package, proof) of each line."""
    rows = [line.split() for line in PACKAGES.read_text().splitlines() if line.strip() and line[0] != "#"]
    return [(group, package, proof) for group, package, proof in rows]


def present(proof: str) -> bool:
    """A proof is a program or a path (alternatives with |), or gstreamer:PLUGIN."""
    if proof.startswith("gstreamer:"):
        return bool(glob.glob(f"/usr/lib/*/gstreamer-1.0/{proof.partition(':')[2]}"))
    if proof.startswith("/"):
        return any(Path(path).exists() for path in proof.split("|"))
    return any(shutil.which(program) for program in proof.split("|"))


def missing() -> list[tuple[str, str, str]]:
    return [row for row in requirements() if not present(row[2])]


def install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        env=environment, check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def table(lacking: list[tuple[str, str, str]]) -> None:
    print(f"{'group':8} {'program':52} {'present':8} enable with")
    for group, package, proof in requirements():
        here = (group, package, proof) not in lacking
        name = Path(proof.split("|")[0].removeprefix("gstreamer:")).name
        print(f"{group:8} {name:52} {'yes' if here else 'NO':8} {'' if here else 'apt-get install ' + package}")


def pytest(expression: str, workers: str, extra: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "-m", expression, *extra]
    return subprocess.run(command, cwd=ROOT).returncode


def main(extra: list[str]) -> int:
    lacking = missing()
    if lacking and os.geteuid() == 0:
        install(sorted({package for _, package, _ in lacking}))
        lacking = missing()
    table(lacking)
    if lacking and os.environ.get("CI") == "true":
        print("CI=true: a group that cannot run is a failure")
        return 1
    without = "".join(f" and not {group}" for group in sorted({row[0] for row in lacking}))
    if extra:
        return subprocess.run([sys.executable, "-m", "pytest", *extra], cwd=ROOT).returncode
    passes = [(f"not ({ALONE} or e2e)", "2"), (f"e2e and not ({ALONE})", "2"), (f"({ALONE})", "0")]
    failures = [pytest(expression + without, workers, []) for expression, workers in passes]
    for group, package, _ in lacking:
        print(f"skipped group {group}: apt-get install {package}", file=sys.stderr)
    return int(any(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
