"""etc/recorderd.toml and docs/configuration.md hold every key that is built, and the file works uncommented."""

from __future__ import annotations

import dataclasses
import re
import uuid
from pathlib import Path

import pytest

from mediadb.format.identity import VolumeIdentity, encode_volume
from recorderd.config.load import LoadResult, load, look_nowhere
from recorderd.config.table import Table
from recorderd.daemon.inspect import inspect_storage
from recorderd.engine.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "etc" / "recorderd.toml"
DOC = ROOT / "docs" / "configuration.md"
INFOS = Registry.discover().infos
_KEY = re.compile(r"# (\[|[a-z_]+ = )")


def uncommented(sandbox: Path) -> Path:
    """Every commented key made live, with paths that exist in the sandbox."""
    lines = [line[2:] if _KEY.match(line) else line for line in FILE.read_text().splitlines()]
    text = "\n".join(lines)
    for path in ("/srv/video-spare", "/srv/video", "/etc/recorderd/secrets", "/var/lib/recorderd", "/run/recorderd"):
        (sandbox / path[1:]).mkdir(parents=True, exist_ok=True)
        text = text.replace(f'"{path}', f'"{sandbox}{path}')
    secret = sandbox / "etc/recorderd/secrets/gate"
    secret.write_text("x")
    secret.chmod(0o600)
    volume = encode_volume(VolumeIdentity(uuid.UUID("00000000-0000-4000-8000-000000000002"), 1))
    (sandbox / "srv/video/VOLUME").write_bytes(volume)
    copy = sandbox / "recorderd.toml"
    copy.write_text(text)
    return copy


def everything(sandbox: Path) -> LoadResult:
    return load(uncommented(sandbox), INFOS, inspect_storage, {})


def test_as_shipped_it_is_valid() -> None:
    found = load(FILE, INFOS, look_nowhere, {})
    assert [str(error) for error in found.errors] == []
    assert [str(warning) for warning in found.warnings] == []
    assert found.config is not None
    assert (found.config.storages, found.config.hardware) == ((), ())


def test_all_of_it_uncommented_is_valid(tmp_path: Path) -> None:
    found = everything(tmp_path)
    assert [str(error) for error in found.errors] == []
    (warning,) = map(str, found.warnings)
    assert "lies on the same disk" in warning  # in the sandbox
    assert found.config is not None
    assert [device.name for device in found.config.hardware] == ["gate", "encoder", "vault", "lobby", "try"]
    assert [len(camera.streams) for camera in found.config.hardware[1].cameras] == [2, 1]


def known_keys(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Section -> keys that the readers ask for, as seen while the whole file is read."""
    seen: dict[str, set[str]] = {}
    finish = Table.finish

    def note(table: Table) -> None:
        section = re.sub(r"\[\d+\]", "", table.place.path)
        seen.setdefault(section, set()).update(table._known)
        finish(table)

    monkeypatch.setattr(Table, "finish", note)
    everything(sandbox)
    for info in INFOS.values():
        seen["hardware"].update(field.name for field in dataclasses.fields(info.settings))
    return seen


def test_every_key_stands_in_the_file_and_in_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = known_keys(tmp_path, monkeypatch)
    sections = {
        "server",
        "http",
        "stream",
        "rtsp",
        "exports",
        "storage",
        "hardware",
        "hardware.camera",
        "hardware.camera.stream",
    }
    assert {"min", "max"} <= seen.pop("hardware.camera.retention")  # a value with keys of its own, not a section
    assert set(seen) == sections
    in_file: dict[str, str] = {}
    for part in re.split(r"^(?:# )?(?=\[+[a-z.]+\]+)", FILE.read_text(), flags=re.MULTILINE)[1:]:
        name = part.split("]")[0].strip("[")
        in_file[name] = in_file.get(name, "") + part
    chapters = {
        title.strip("[]"): text for title, text in (part.split("\n", 1) for part in DOC.read_text().split("\n## ")[1:])
    }
    chapters |= {"stream": chapters["stream] and [rtsp"], "rtsp": chapters["stream] and [rtsp"]}
    missing = []
    for section, keys in seen.items():
        for key in sorted(keys - {"camera", "stream"}):
            if not re.search(rf"^(# )?{key} = ", in_file[section], re.MULTILINE):
                missing.append(f"{FILE.name}: [{section}] {key}")
            chapter = chapters[section] + (chapters["hardware.camera"] if section == "hardware" else "")
            if f"`{key}`" not in chapter:
                missing.append(f"{DOC.name}: [{section}] {key}")
    assert not missing
