"""An export that is broken off anywhere ends as one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from server_scene import CAMERAS, T0, S, Scene

from mediadb.fs import RealFs
from mediadb.movie import export_pieces
from mediadb.movie.export import ExportRequest
from mediadb.movie.export_pieces import PieceExport, estimated_bytes
from mediadb.tools.verify import verify_export
from mediadb.types import TrackKind


class Enough(Exception):
    pass


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_pieces, "STEP_BYTES", 5_000)
    monkeypatch.setattr(export_pieces, "SYNC_BYTES", 15_000)
    monkeypatch.setattr(export_pieces, "PIECE_US", 4 * S)


def request(folder: Path, **more: object) -> ExportRequest:
    return ExportRequest(CAMERAS["gate"], T0, T0 + 10 * S, folder, **more)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_files_per_piece_verify_and_the_journal_is_gone(server: Scene, tmp_path: Path) -> None:
    reader, told = server.store.reader, [0]
    manifest = PieceExport(reader, RealFs(), request(tmp_path / "a"), "gate", lambda n: told.append(n)).run()
    record = json.loads(manifest.read_text())
    assert [one["name"] for one in record["files"]] == ["gate.mp4", "gate-002.mp4", "gate-003.mp4"]
    assert sorted(contents(tmp_path / "a")) == ["gate-002.mp4", "gate-003.mp4", "gate.json", "gate.mp4"]
    assert sum(told) == sum(one["bytes"] for one in record["files"])
    assert estimated_bytes(reader, request(tmp_path)) <= sum(told)
    assert verify_export(RealFs(), manifest).sound


def test_broken_off_at_every_step_it_ends_the_same(server: Scene, tmp_path: Path) -> None:
    reader = server.store.reader
    PieceExport(reader, RealFs(), request(tmp_path / "whole"), "gate", lambda _: None).run()
    for tries in range(1, 200):
        calls = 0

        def watch(_: int, limit: int = 3 + tries) -> None:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Enough

        try:
            PieceExport(reader, RealFs(), request(tmp_path / "torn"), "gate", watch).run()
            break
        except Enough:
            assert (tmp_path / "torn" / "gate.export").exists() or tries < 20
    assert tries > 5
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def test_after_a_power_cut_only_what_was_synced_is_believed(server: Scene, tmp_path: Path) -> None:
    reader, folder = server.store.reader, tmp_path / "torn"
    PieceExport(reader, RealFs(), request(tmp_path / "whole"), "gate", lambda _: None).run()
    done = 0

    def watch(written: int) -> None:
        nonlocal done
        done += written
        if done > 20_000:
            raise Enough

    with pytest.raises(Enough):
        PieceExport(reader, RealFs(), request(folder), "gate", watch).run()
    part = next(folder.glob("*.part"))
    journal = json.loads((folder / "gate.export").read_text())
    journal["part"][1] = 10_000
    (folder / "gate.export").write_text(json.dumps(journal))
    data = bytearray(part.read_bytes())
    data[10_000:] = bytes(len(data) - 10_000)
    part.write_bytes(data)
    PieceExport(reader, RealFs(), request(folder), "gate", lambda _: None).run()
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_part_of_other_footage_and_a_spoilt_journal_begin_again(server: Scene, tmp_path: Path) -> None:
    reader = server.store.reader
    PieceExport(reader, RealFs(), request(tmp_path / "whole"), "gate", lambda _: None).run()
    for text in ('{"files": [], "skipped": [], "part": ["another", 3000]}', "{", "[]", '{"files": 3}'):
        folder = tmp_path / f"x{len(text)}"
        folder.mkdir()
        (folder / "gate.mp4.part").write_bytes(b"x" * 5_000)
        (folder / "gate.export").write_text(text)
        PieceExport(reader, RealFs(), request(folder), "gate", lambda _: None).run()
        assert contents(folder) == contents(tmp_path / "whole")


def test_a_file_whose_footage_changed_before_it_was_journalled_begins_again(server: Scene, tmp_path: Path) -> None:
    reader, folder = server.store.reader, tmp_path / "torn"

    class DiesAfterRename(RealFs):
        def rename(self, source: Path, target: Path) -> None:
            super().rename(source, target)
            if target.suffix == ".mp4":
                raise Enough

    with pytest.raises(Enough):
        PieceExport(reader, DiesAfterRename(), request(folder), "gate", lambda _: None).run()
    assert (folder / "gate.mp4").exists()
    # meanwhile a group of pictures shows damage: the file to make is another, shorter one
    (video,) = [one.spec.track for one in reader.tracks() if one.spec.kind is TrackKind.VIDEO]
    ref = next(ref for ref in reader.chunks(video, T0 + 2 * S, T0 + 3 * S))
    path = next(path for path in tmp_path.rglob(Path(ref.name).name + ".*") if path.suffix in (".rseg", ".open"))
    with path.open("r+b") as file:
        file.seek(ref.row.offset + ref.row.length - 3)
        file.write(b"\0\1\2")
    reader._chunks.forget(ref.name)  # as after a restart of the server
    fresh = PieceExport(reader, RealFs(), request(tmp_path / "whole"), "gate", lambda _: None)
    assert json.loads(fresh.run().read_text())["skipped"]
    PieceExport(reader, RealFs(), request(folder), "gate", lambda _: None).run()
    assert contents(folder) == contents(tmp_path / "whole")


def test_without_sound_and_without_footage(server: Scene, tmp_path: Path) -> None:
    reader = server.store.reader
    silent = PieceExport(reader, RealFs(), request(tmp_path / "s", audio=False), "gate", lambda _: None).run()
    assert [one["kind"] for one in json.loads(silent.read_text())["tracks"]] == ["video"]
    none = ExportRequest(CAMERAS["yard"], T0, T0 + S, tmp_path / "n")
    record = json.loads(PieceExport(reader, RealFs(), none, "yard", lambda _: None).run().read_text())
    assert record["files"] == []
