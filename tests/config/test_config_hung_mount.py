"""A mount that does not answer holds up neither the start nor a reload: the configuration is read all the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorderd.config import patience
from recorderd.config.load import load, look_nowhere

TEXT = """
[[storage]]
name = "main"
path = "{folder}/away/video"
retention = "1d"
fallback = "other"

[[storage]]
name = "other"
path = "{folder}/other"
retention = "1d"
"""


@pytest.fixture
def hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every look below `away` waits until the test is over."""
    over = threading.Event()

    def hanging(real: Any) -> Any:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if "/away/" in os.fspath(path):
                over.wait(20)
            return real(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "stat", hanging(os.stat))
    monkeypatch.setattr(os.path, "realpath", hanging(os.path.realpath))
    monkeypatch.setattr(patience, "PATIENCE_S", 0.05)
    monkeypatch.setattr(patience.ask, "__defaults__", (0.05,))
    yield tmp_path
    over.set()


def test_a_hung_mount_does_not_hang_the_reading_of_the_configuration(hung: Path) -> None:
    path = hung / "recorderd.toml"
    path.write_text(TEXT.format(folder=hung))
    found: list[Any] = []
    reading = threading.Thread(target=lambda: found.append(load(path, {}, look_nowhere)), daemon=True)
    reading.start()
    reading.join(10)
    assert found, "it waits for the mount"
    assert found[0].config is not None
    assert [storage.name for storage in found[0].config.storages] == ["main", "other"]


@pytest.mark.fast
def test_what_a_question_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        patience.ask(lambda: 1 // 0, 7)
    assert patience.ask(lambda: 3, 7) == 3
