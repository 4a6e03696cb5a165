"""Where secrets come from, and that no finding ever shows one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recorderd.config.load import LoadResult

pytestmark = pytest.mark.fast
Loader = Callable[..., LoadResult]

CANARY = "canary-7Xq2-secret"
HEAD = '[[storage]]\nname = "main"\npath = "/srv/video"\nmax_size = "1GB"\n'
GATE = '[[hardware]]\nname = "gate"\ndriver = "rtsp"\naddress = "rtsp://192.0.2.10/"\nusername = "admin"\n'


def revealed(result: LoadResult) -> str:
    assert result.config is not None, [str(error) for error in result.errors]
    password = result.config.hardware[0].password
    assert password is not None
    assert CANARY not in repr(result) + str(result.config)
    return password.reveal()


def test_a_file_a_variable_a_credential(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "gate").write_text(CANARY + "\n")
    (tmp_path / "gate").chmod(0o600)
    environ = {"PW": CANARY, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    for source in (f'{{ file = "{tmp_path}/gate" }}', '{ env = "PW" }', '{ credential = "gate" }'):
        result = load_text(f"{HEAD}{GATE}password = {source}\n", environ=environ)
        assert revealed(result) == CANARY
        assert result.warnings == ()


def test_a_string_in_the_file_and_an_open_file_are_warned_about(load_text: Loader, tmp_path: Path) -> None:
    result = load_text(f'{HEAD}{GATE}password = "{CANARY}"\n')
    assert revealed(result) == CANARY
    assert [warning.path for warning in result.warnings] == ["hardware[0].password"]
    (tmp_path / "gate").write_text(CANARY)
    (tmp_path / "gate").chmod(0o644)
    result = load_text(f'{HEAD}{GATE}password = {{ file = "{tmp_path}/gate" }}\n')
    assert "chmod 600" in result.warnings[0].message


def test_outside_the_service_an_absent_credential_is_only_not_checked(load_text: Loader) -> None:
    for source in ('{ credential = "gate" }', '{ env = "PW" }'):
        text = f"{HEAD}{GATE}password = {source}\n"
        assert load_text(text).config is None
        result = load_text(text, checking=True)
        assert result.config is not None
        assert "not checked here" in result.warnings[0].message


@pytest.mark.parametrize(
    "line",
    [
        f'password = {{ "{CANARY}" = "x" }}',
        f'address = "rtsp://admin:{CANARY}@192.0.2.10/"',
        f'address = "rtsp://admin:{CANARY}@[::1/"',
        f'password = ["{CANARY}"]',
        f'passwort = "{CANARY}"',
    ],
)
def test_findings_never_quote_what_may_be_a_secret(load_text: Loader, line: str) -> None:
    gate = "\n".join(row for row in GATE.splitlines() if not row.startswith(line.partition(" ")[0])) + "\n"
    result = load_text(f"{HEAD}{gate}{line}\n")
    assert result.errors
    assert CANARY not in "".join(str(finding) for finding in (*result.errors, *result.warnings))
