"""Old months of the ledger go as wholes, and only when nobody's word in them still holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import rig
from fault_fs import FaultFs

from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page
from mediadb.ledger import ledger_files
from mediadb.ledger_cut import cut_months

pytestmark = pytest.mark.fast
FOLDER = rig.ROOT / "ledger" / "main" / "x"
MONTHS = ["2025-01", "2025-02", "2025-03", "2025-03.1", "2025-04", "2025-12"]


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def ledger(runs: dict[str, list[int]]) -> FaultFs:
    fs = FaultFs()
    fs.mkdirs(FOLDER)
    for name in MONTHS:
        fd = fs.create(FOLDER / name)
        raw = b"".join(
            encode_page([LedgerRecord(LedgerKind.ALIVE, 0, {})], run, 1, n, 0)
            for n, run in enumerate(runs.get(name, [9]))
        )
        fs.pwritev(fd, [raw], 0)
        fs.fdatasync(fd)
        fs.close(fd)
    fs.fsync_dir(FOLDER)
    return fs


OWN = {name: [number] for number, name in enumerate(MONTHS, 1)} | {"2025-12": [99]}


@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("2025-01-31", MONTHS),
        ("2025-02-01", MONTHS[1:]),
        ("2025-04-15", MONTHS[4:]),
        ("2030-01-01", MONTHS),  # nothing would stay: then nothing is known to be old
        ("2025-12-31", MONTHS[5:]),
    ],
)
def test_months_that_ended_before_go(before: str, left: list[str]) -> None:
    fs = ledger(OWN)
    cut = cut_months(fs, FOLDER, us(before), 99)
    assert ledger_files(fs, FOLDER) == left
    assert [*cut, *left] == MONTHS
    assert ledger_files(fs.crash(), FOLDER) == left, "durable"


def test_a_run_that_lives_on_holds_its_months_and_those_it_came_from() -> None:
    fs = ledger({**OWN, "2025-02": [2, 50], "2025-03": [50], "2025-03.1": [50], "2025-04": [50, 51], "2025-12": [51]})
    assert cut_months(fs, FOLDER, us("2025-12-01"), 99) == ["2025-01"]
    lately = ledger({**OWN, "2025-04": [99], "2025-12": [99]})
    assert cut_months(lately, FOLDER, us("2025-12-01"), 99) == MONTHS[:4]


def test_what_is_no_month_stays() -> None:
    fs = ledger(OWN)
    fd = fs.create(FOLDER / "2025-99")
    fs.close(fd)
    cut_months(fs, FOLDER, us("2025-12-01"), 99)
    assert "2025-99" in ledger_files(fs, FOLDER)
