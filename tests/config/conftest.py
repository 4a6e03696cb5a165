from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_drivers import DRIVERS

from recorderd.config.load import LoadResult, StorageInspector, load, look_nowhere

Loader = Callable[..., LoadResult]


@pytest.fixture
def load_text(tmp_path: Path) -> Loader:
    """Write a main file (and conf.d files) and load them."""

    def loader(
        text: str,
        inspect: StorageInspector = look_nowhere,
        environ: dict[str, str] | None = None,
        checking: bool = False,
        **extra: str,
    ) -> LoadResult:
        path = tmp_path / "recorderd.toml"
        path.write_text(text)
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, more in extra.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(more)
        return load(path, DRIVERS, inspect, environ or {}, checking)

    return loader
