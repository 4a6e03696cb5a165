"""The house rules that a machine can hold: layers, sizes, names, the repository speaking of the product alone."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("recorderd", "mediadb", "drivers")
LINT = Path(sys.executable).parent / "lint-imports"


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(folder)},
    )


@pytest.mark.parametrize(
    ("victim", "line", "contract"),
    [
        ("recorderd/core/ids.py", "import asyncio", "The core reads no clock"),
        ("recorderd/wire/sdp.py", "import socket", "Protocols and formats do no I/O"),
        ("recorderd/engine/registry.py", "import drivers.rtsp.info", "Drivers are found by entry point"),
        ("recorderd/engine/live.py", "import av", "Only decode workers"),
        ("mediadb/errors.py", "import recorderd.core.clock", "library of its own"),
        ("recorderd/core/clock.py", "import recorderd.media.access_unit", "imports point downwards"),
    ],
)
def test_a_planted_forbidden_import_turns_the_contracts_red(
    tmp_path: Path, victim: str, line: str, contract: str
) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    planted = tmp_path / victim
    text = planted.read_text()
    planted.write_text(
        text.replace("from __future__ import annotations\n", f"from __future__ import annotations\n{line}\n", 1)
    )
    assert planted.read_text() != text, f"nothing was planted in {victim}"
    done = lint_imports(tmp_path)
    assert done.returncode != 0, done.stdout
    assert re.search(rf"{re.escape(contract)}.*BROKEN", done.stdout.replace("\n", " ")), done.stdout


def test_the_tree_as_it_is_keeps_every_contract() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.fast
def test_files_and_functions_stay_readable() -> None:
    long = []
    for path in sources():
        text = path.read_text()
        if (lines := text.count("\n")) > 500:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {size} lines")
    assert not long, "\n".join(long)


@pytest.mark.fast
def test_every_module_opens_with_its_law() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not bare


@pytest.mark.fast
def test_no_drawer_modules() -> None:
    drawers = {"utils", "util", "common", "helpers", "misc"}
    assert not [path for path in sources() if path.stem in drawers]


@pytest.mark.fast
def test_forbidden_calls_are_absent() -> None:
    """eval, exec, pickle, shell=True: each has led to a takeover of some recorder."""
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                shell = any(word.arg == "shell" for word in node.keywords)
                if name in {"eval", "exec"} or shell:
                    found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                if {"pickle", "marshal", "shelve", "yaml"} & set(names):
                    found.append(f"{path}:{node.lineno}")
    assert not found


def test_no_two_test_modules_share_a_name() -> None:
    """They are collected without packages: a second one of the same name stops the whole run."""
    seen: dict[str, Path] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name == "conftest.py" or (path.parent / "__init__.py").exists():
            continue
        assert path.name not in seen, f"{path} and {seen[path.name]}"
        seen[path.name] = path
