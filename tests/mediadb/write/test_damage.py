"""Files that were cut short or changed: recovery keeps what is right, serves nothing wrong, never stops the start."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import oracle
import pytest
import rig
from fault_fs import FaultFs, Node
from rig import Rig

from mediadb.errors import MediaDbError
from mediadb.fs import Fs
from mediadb.read.reader import Reader
from mediadb.write.commits import StoreOptions

TRACK = rig.track_id(0)
LATER = rig.T0 + 60_000_000
FAR = 10**12


def killed_run(seconds: int = 4, frames: int = 5) -> tuple[FaultFs, Path]:
    """A run that ended without a word; its one segment is unsealed."""
    fs = FaultFs()
    run = Rig(fs)
    for second in range(seconds):
        run.frames(second * frames, frames, gop=frames, size=40)
        run.commit()
    after = fs.crash()
    (path,) = rig.segment_paths(after)
    return after, path


def with_bytes(fs: FaultFs, path: Path, raw: bytes) -> FaultFs:
    """A copy in which one file has other bytes."""
    copy = fs.crash()
    node = Node(copy.names[path].number)
    node.data, node.durable = bytearray(raw), bytearray(raw)
    copy.names[path] = copy.durable_names[path] = node
    return copy


def read_back(fs: Fs, root: Path = rig.ROOT, track: uuid.UUID = TRACK) -> list[int]:
    """Sample numbers by the product's reader; wrong bytes fail here, an honest error leaves the chunk out."""
    reader = Reader.open_offline(root, "main", lambda: LATER, fs=fs)
    out = []
    for ref in reader.chunks(track, rig.T0 - FAR, rig.T0 + FAR):
        try:
            samples = reader.read(ref).samples
        except MediaDbError:
            continue
        for sample in samples:
            number = int.from_bytes(sample.data[:4], "big")
            assert sample.data == rig.content(track, number, len(sample.data)), "wrong bytes served"
            out.append(number)
    reader.close()
    return out


def test_cut_at_every_byte_of_the_last_two_blocks() -> None:
    fs, path = killed_run()
    raw = rig.read_all(fs, path)
    blocks = oracle.blocks(raw)
    assert len(blocks) == 4
    start = blocks[-2].offset
    # In zero padding every cut is the same cut: one byte on each side of a change, and each page border, is enough.
    cuts = [n for n in range(start, len(raw) + 1) if any(raw[n - 2 : n + 2]) or n % 4096 < 2]
    assert len(cuts) > 2000
    for cut in cuts:
        copy = with_bytes(fs, path, raw[:cut])
        run = Rig(copy, start_us=LATER)
        run.recover()
        found = rig.numbers(copy, TRACK)
        assert found == list(range(len(found)))
        readable = [block for block in blocks if block.offset + 128 + 272 * len(block.chunks) <= cut]
        whole = [c for block in readable for c in block.chunks if c.offset + c.length <= cut]
        assert len(found) == sum(len(c.samples) for c in whole if c.kind in oracle.MEDIA), f"cut at {cut}"
        assert [p.suffix for p in rig.segment_paths(copy)] == [".rseg"]
        run.log.close()


@pytest.mark.fast
def test_a_cut_below_what_was_vouched_for_is_told_as_loss() -> None:
    fs, path = killed_run()
    raw = rig.read_all(fs, path)
    blocks = oracle.blocks(raw)
    broken = bytearray(raw)
    broken[blocks[1].offset + 130] ^= 1  # the directory of commit 1, which commit 3 vouches for
    copy = with_bytes(fs, path, bytes(broken))
    run = Rig(copy, start_us=LATER)
    run.recover()
    codes = [code for code, _ in run.troubles]
    assert "segment-damaged" in codes
    assert "acknowledged-commits-lost" in codes
    assert rig.numbers(copy, TRACK) == [*range(5), *range(10, 20)], "what follows the damage is kept"


@pytest.mark.parametrize("sealed", [False, True])
def test_any_flipped_bit_never_gives_wrong_bytes_nor_stops_the_start(sealed: bool) -> None:
    fs, path = killed_run()
    if sealed:
        run = Rig(fs, start_us=LATER)
        run.recover()
        run.log.close()
        (path,) = rig.segment_paths(fs)
    raw = rig.read_all(fs, path)
    rng = random.Random(7)
    offsets = [n for n in range(len(raw)) if raw[n]]
    for at in rng.sample(offsets, 250):
        broken = bytearray(raw)
        broken[at] ^= 1 << rng.randrange(8)
        copy = with_bytes(fs, path, bytes(broken))
        run = Rig(copy, start_us=LATER * 2 - rig.T0)
        run.recover()
        run.frames(100, 5, gop=5, size=40, base_us=LATER + 1_000_000)
        run.commit()
        assert run.acked == {TRACK: 5}, "recording goes on"
        found = read_back(copy)
        assert found == sorted(set(found))
        assert set(found) <= {*range(20), *range(100, 105)}
        assert set(range(100, 105)) <= set(found)
        run.log.close()


@pytest.mark.fast
def test_files_that_are_not_ours_are_left_alone() -> None:
    fs, path = killed_run()
    raw = rig.read_all(fs, path)
    foreign = bytearray(raw)
    strange = path.with_name("20991231T000000Z-00000001-000077.open")
    for name, content in ((strange, b"hello" * 4000), (path.with_name("notes.txt"), b"mine")):
        node = Node(5000 + len(name.name))
        node.data = node.durable = bytearray(content)
        fs.names[name] = fs.durable_names[name] = node
    run = Rig(fs, start_us=LATER)
    run.recover()
    assert rig.read_all(fs, strange) == b"hello" * 4000
    assert rig.read_all(fs, path.with_name("notes.txt")) == b"mine"
    assert "segment-unreadable" in [code for code, _ in run.troubles]
    assert bytes(foreign) == raw


@pytest.mark.fast
def test_a_prepared_segment_that_was_never_used_goes_quietly() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True))
    run.frames(0, 5)

    class Stop(BaseException):
        pass

    def stop(name: str) -> None:
        if name == "append":
            raise Stop

    fs.hook = stop
    with pytest.raises(Stop):
        run.commit()
    after = fs.crash()
    assert len(rig.segment_paths(after)) == 1
    again = Rig(after, start_us=LATER)
    again.recover()
    assert rig.segment_paths(after) == []
    assert again.troubles == []
