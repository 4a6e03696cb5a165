"""Secrets of the file: where they come from and how carelessly they lie there.

Law: the value goes straight into a `Secret`; no finding, log or exception ever holds it. Sources: a file of its
own, a systemd credential, an environment variable, or (with a warning) the configuration itself.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorderd.config.table import Table
from recorderd.core.secret import Secret

_SOURCES = ("file", "credential", "env")
_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretSources:
    """`environ` of the process; `checking` means: outside the service, where credentials may be absent."""

    environ: Mapping[str, str]
    checking: bool = False


def read_secret(table: Table, key: str, sources: SecretSources) -> Secret | None:
    """The secret at `key`, or None when it is absent or a finding was made."""
    found: Any = table.raw.get(key)
    if isinstance(found, str):
        table.value(key, str, "")
        table.warn(
            key, f"is written in the configuration: move it to a file of its own and write {key} = {{ file = ... }}"
        )
        return Secret(found)
    source = table.value(key, dict, {})
    if not source:
        if key in table.raw and isinstance(found, dict):
            table.error(key, "names no source: write { file = ... }, { credential = ... } or { env = ... }")
        return None
    if len(source) != 1 or next(iter(source)) not in _SOURCES or not isinstance(next(iter(source.values())), str):
        table.error(key, "must name one source: { file = PATH }, { credential = NAME } or { env = NAME }")
        return None
    kind, name = next(iter(source.items()))
    if kind == "file":
        return _from_file(table, key, name)
    if kind == "env":
        return _from_environment(table, key, name, sources)
    return _from_credential(table, key, name, sources)


def _from_file(table: Table, key: str, name: str) -> Secret | None:
    if not name.startswith("/"):
        table.error(key, f"the secret's file must be an absolute path, not {name!r}")
        return None
    path = Path(name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT_BYTES:
            table.error(key, f"{name} is not a small regular file")
            return None
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        table.error(key, f"cannot read {name}: {reason}")
        return None
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        table.warn(key, f"everybody on this machine can read {name}: run chmod 600 {name}")
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _from_environment(table: Table, key: str, name: str, sources: SecretSources) -> Secret | None:
    if name in sources.environ:
        return Secret(sources.environ[name])
    _absent(table, key, f"the environment variable {name} is not set", sources)
    return None


def _from_credential(table: Table, key: str, name: str, sources: SecretSources) -> Secret | None:
    if "/" in name or name in ("", ".", ".."):
        table.error(key, "a credential is a plain name, as in LoadCredential=NAME:PATH")
        return None
    folder = sources.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        _absent(table, key, f"the credential {name} is known only inside the service ($CREDENTIALS_DIRECTORY)", sources)
        return None
    return _from_file(table, key, str(Path(folder) / name))


def _absent(table: Table, key: str, message: str, sources: SecretSources) -> None:
    if sources.checking:
        table.warn(key, f"{message}: not checked here")
    else:
        table.error(key, f"{message}: add it to the unit, or use {{ file = ... }}")
