"""The reload plan touches what changed and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recorderd.config.diff import ReloadPlan, diff, in_force
from recorderd.config.load import LoadResult
from recorderd.config.schema import Config

pytestmark = pytest.mark.fast
Loader = Callable[..., LoadResult]

BASE = """
[server]
name = "hq"
[[storage]]
name = "main"
path = "/srv/a"
max_size = "1GB"
[[hardware]]
name = "gate"
driver = "rtsp"
address = "rtsp://192.0.2.1/"
storage = "main"
password = "one"
[[hardware]]
name = "yard"
driver = "rtsp"
address = "rtsp://192.0.2.2/"
storage = "main"
"""


def config(load_text: Loader, text: str) -> Config:
    result = load_text(text)
    assert result.config is not None, result.errors
    return result.config


def test_the_same_file_is_an_empty_plan(load_text: Loader) -> None:
    plan = diff(config(load_text, BASE), config(load_text, BASE))
    assert plan.empty
    assert plan == ReloadPlan()


def test_hardware_comes_goes_and_changes(load_text: Loader) -> None:
    new = BASE.replace('name = "yard"', 'name = "roof"').replace('"one"', '"two"')
    plan = diff(config(load_text, BASE), config(load_text, new))
    assert [device.name for device in plan.added_hardware] == ["roof"]
    assert [device.name for device in plan.removed_hardware] == ["yard"]
    assert [device.name for device in plan.changed_hardware] == ["gate"]
    assert not plan.changed_storages
    assert not plan.restart_needed


def test_an_open_storage_takes_new_limits_and_keeps_its_other_keys_until_a_restart(load_text: Loader) -> None:
    old = config(load_text, BASE)
    moved = config(load_text, BASE.replace("/srv/a", "/srv/b").replace("1GB", "2GB"))
    plan = diff(old, moved)
    assert [storage.name for storage in plan.changed_storages] == ["main"]
    assert plan.restart_needed == ("storage main.path",)
    (active,) = in_force(old, moved).storages
    assert (active.path, active.max_size_bytes) == (old.storages[0].path, 2_000_000_000)
    more = config(load_text, BASE + '[[storage]]\nname = "two"\npath = "/srv/two"\nmax_size = "1GB"\n')
    assert [storage.name for storage in diff(old, more).added_storages] == ["two"]
    assert [storage.name for storage in diff(more, old).removed_storages] == ["two"]


def test_what_waits_for_a_restart_is_named_and_stays_as_it_was(load_text: Loader) -> None:
    old = config(load_text, BASE)
    new = config(
        load_text, BASE.replace('name = "hq"', 'name = "hq2"\nloop = "uvloop"') + '[http]\nlisten = "127.0.0.1:1"\n'
    )
    plan = diff(old, new)
    assert plan.restart_needed == ("server.loop", "http.listen")
    active = in_force(old, new)
    assert (active.server.name, active.server.loop, active.http) == ("hq2", "asyncio", old.http)
