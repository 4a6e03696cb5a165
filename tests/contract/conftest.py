"""Every driver in the tree is found by its entry point and meets a device of its own kind (driver_cases.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from recorderd.engine.registry import Registry

pytest.register_assert_rewrite("recorderd.driverapi.testing")


def every_case() -> list[tuple[str, int]]:
    """Each driver found, with the number of each of its cases; without a case it fails in the fixture."""
    from driver_cases import CASES

    found = sorted(Registry.discover().infos)
    return [(name, number) for name in found for number in range(len(CASES.get(name, ())) or 1)]


@pytest.fixture(params=every_case(), ids=str)
async def driver_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[object]:
    from driver_cases import CASES

    name, number = request.param
    assert name in CASES, f"driver {name!r} has no case in tests/contract/driver_cases.py"
    make = CASES[name][number]
    async with make(Registry.discover().infos[name], tmp_path_factory.getbasetemp()) as case:
        yield case
