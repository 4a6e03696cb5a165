"""Drivers are found by entry point; a broken one is reported and costs nobody else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from drivers.synthetic.info import INFO
from recorderd.driverapi.info import API_VERSION, DriverInfo
from recorderd.engine.registry import GROUP, DriverMissing, Registry

pytestmark = pytest.mark.fast

OLD = DriverInfo("old", "Old", ("old",), object, lambda: None, api_version=API_VERSION + 1)  # type: ignore[arg-type,return-value]
NUMBER = 7


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_in_tree_drivers_come_through_the_same_door() -> None:
    registry = Registry.discover()
    assert {"synthetic", "rtsp"} <= set(registry.infos)
    assert registry.broken == ()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no.such.module:INFO", "ModuleNotFoundError"),
        ("test_registry:NOTHING", "AttributeError"),
        ("test_registry:NUMBER", "is a int, not a DriverInfo"),
        ("test_registry:OLD", f"driver API {API_VERSION + 1}"),
    ],
)
def test_broken_entry_points_are_reported_not_fatal(value: str, problem: str) -> None:
    registry = Registry.discover([entry("bad", value), entry("good", "drivers.synthetic.info:INFO")])
    assert list(registry.infos) == ["synthetic"]
    assert [(broken.name, broken.origin) for broken in registry.broken] == [("bad", value)]
    assert problem in registry.broken[0].problem


def test_two_drivers_of_one_name() -> None:
    registry = Registry.discover([entry("a", "drivers.synthetic.info:INFO"), entry("b", "drivers.synthetic.info:INFO")])
    assert [broken.name for broken in registry.broken] == ["b"]


def test_drivers_are_loaded_once_and_late() -> None:
    registry = Registry([INFO])
    assert registry.driver("synthetic") is registry.driver("synthetic")
    with pytest.raises(DriverMissing, match="installed: synthetic"):
        registry.driver("nonesuch")


def test_infos_are_cheap_to_import() -> None:
    code = (
        "import sys; from recorderd.engine.registry import Registry; Registry.discover();"
        "heavy = {'av', 'numpy', 'drivers.synthetic.driver', 'drivers.rtsp.driver'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
