"""What retention would remove, over HTTP, and the word that lets go what is held back."""

from __future__ import annotations

from server_scene import Scene

from mediadb.reclaim.brake import SHORTENED


async def test_the_plan_and_the_forecast_of_a_storage(server: Scene) -> None:
    (name,) = server.deps.stores
    found = await server.json(f"/api/v1/storages/{name}/reclaim")
    assert (found["storage"], found["state"], found["after_reload"]) == (name, "free", None)
    assert found["now"] == {"segments": 0, "bytes": 0, "until": None, "parts": []}
    assert set(found["forecast"]) == {"rate_bytes_s", "kept_us", "full_us", "cameras"}
    await server.problem("/api/v1/storages/nowhere/reclaim", "not-found")


async def test_what_is_held_back_goes_on_when_somebody_says_so(server: Scene) -> None:
    (name,) = server.deps.stores
    keeper = server.store.reclaim
    reclaimer = keeper._reclaimer
    assert reclaimer is not None
    clock = server.clock
    reclaimer.brake.pace(SHORTENED, clock.monotonic_us(), 1 << 30)
    keeper.step()
    assert (await server.json(f"/api/v1/storages/{name}/reclaim"))["state"] == "paced"
    async with server.client.post(f"/api/v1/storages/{name}/reclaim") as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["reason"] == SHORTENED
    keeper.step()
    assert (await server.json(f"/api/v1/storages/{name}/reclaim"))["state"] == "free"
