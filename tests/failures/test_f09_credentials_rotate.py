"""9. The camera's password changes every minute.

Elsewhere each attempt with the old password counted until the camera locked everybody out, or a restart was needed to
take the new one. Ours: a refused password is tried once and then waits; a reload with another one connects at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mediadb.types import State
from recorderd.config.diff import diff
from recorderd.core.secret import Secret
from recorderd.driverapi.errors import DeviceAuthFailed
from tests.engine.engine_fakes import Rig, config, device

pytestmark = [pytest.mark.looptime]


async def test_each_password_costs_one_refusal_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, valid, refused = Rig(), ["0"], list[str]()
    connect = rig.driver.connect

    def checked(address: Any, settings: Any, host: Any) -> Any:
        password = address.password.reveal()
        camera = rig.driver.device()
        camera.connect_error = None if password == valid[0] else DeviceAuthFailed("401 twice")
        if camera.connect_error is not None:
            refused.append(password)
        return connect(address, settings, host)

    monkeypatch.setattr(rig.driver, "connect", checked)
    configs = [config(device("one", username="admin", password=Secret(str(turn)))) for turn in range(7)]
    await rig.start(configs[0])
    await asyncio.sleep(20)
    for turn in range(1, 7):
        valid[0] = str(turn)
        rig.driver.device().lose(DeviceAuthFailed("the session's password is not valid any more"))
        await asyncio.sleep(40)
        assert rig.video.covers[-1][1] == rig.video.covers[-1][1]
        assert rig.video.covers[-1][1].state is State.CAMERA_OFFLINE
        assert rig.video.covers[-1][1].reason == "auth-failed"
        await rig.engine.apply(diff(configs[turn - 1], configs[turn]), configs[turn])
        await asyncio.sleep(20)
        assert rig.engine.camera("one").state == "recorded", "the new password is taken without a restart"
    assert all(refused.count(password) <= 1 for password in set(refused)), "nobody is locked out"
    await rig.stop()
