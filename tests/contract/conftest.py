"""Every driver in the tree is found by its entry point and meets a device of its own kind (driver_cases.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from recorderd.engine.registry import Registry

pytest.register_assert_rewrite("recorderd.driverapi.testing")


@pytest.fixture(params=sorted(Registry.discover().infos))
async def driver_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[object]:
    from driver_cases import CASES

    make = CASES.get(request.param)
    assert make is not None, f"driver {request.param!r} has no case in tests/contract/driver_cases.py"
    async with make(Registry.discover().infos[request.param], tmp_path_factory.getbasetemp()) as case:
        yield case
