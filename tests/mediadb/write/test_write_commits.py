"""What one undisturbed run puts on disk, judged by the oracle."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import oracle
import pytest
import rig
from fault_fs import FaultFs
from rig import Rig

from mediadb.types import Cause, ChunkFlag, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import StoreOptions
from mediadb.write.items import ConfigItem, GapItem, MarkItem

pytestmark = pytest.mark.fast
TRACK = rig.track_id(0)


def all_chunks(fs: FaultFs) -> list[oracle.Chunk]:
    out = []
    for path in rig.segment_paths(fs):
        for block in oracle.blocks(rig.read_all(fs, path)):
            out += block.chunks
    return out


def media(fs: FaultFs, track: bytes = TRACK.bytes) -> list[oracle.Chunk]:
    found = [c for c in all_chunks(fs) if c.track == track and c.kind != oracle.CONFIG]
    return sorted(found, key=lambda c: c.seq)


def test_every_sample_comes_back_with_its_times() -> None:
    fs = FaultFs()
    run = Rig(fs)
    for second in range(4):
        run.frames(second * 25, 25)
        run.commit()
    assert run.acked == {TRACK: 100}
    assert rig.numbers(fs, TRACK) == list(range(100))
    assert run.close() == []
    assert rig.numbers(fs, TRACK) == list(range(100)), "the footer lists the same as the blocks"
    samples = [s for chunk in media(fs) for s in chunk.samples]
    for number, (data, pts, dts, key, lost, damaged) in enumerate(samples):
        sent = rig.frame(TRACK, number)
        assert (data, pts, dts, key, lost, damaged) == (sent.data, sent.pts, sent.dts, sent.key_type, 0, False)


def test_keys_are_their_own_chunks_and_sequence_has_no_gap() -> None:
    fs = FaultFs()
    run = Rig(fs)
    for second in range(3):
        run.frames(second * 25, 25)
        run.commit()
    chunks = media(fs)
    assert [c.seq for c in chunks] == list(range(len(chunks)))
    gop = None
    for chunk in chunks:
        if chunk.kind == 1:
            assert len(chunk.samples) == 1
            gop = chunk.seq
        assert chunk.gop == gop
        assert sum(s[3] != 0 for s in chunk.samples) == (1 if chunk.kind == 1 else 0)


def test_blocks_areas_and_footer_begin_on_pages_and_padding_is_zero() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.frames(0, 25, number=1)
    run.commit()
    path = rig.segment_paths(fs)[0]
    raw = rig.read_all(fs, path)
    (block,) = oracle.blocks(raw)
    assert block.offset % 4096 == 0
    assert (block.offset + block.length) % 4096 == 0
    kinds = [c.kind for c in block.chunks]
    assert kinds == [6, 6, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    first_delta = next(c for c in block.chunks if c.kind == 2)
    assert first_delta.offset % 4096 == 0
    used = bytearray(block.length)
    used[: 128 + 272 * len(block.chunks)] = b"\1" * (128 + 272 * len(block.chunks))
    for chunk in block.chunks:
        at = chunk.offset - block.offset
        used[at : at + chunk.length] = b"\1" * chunk.length
    assert all(raw[block.offset + n] == 0 for n in range(block.length) if not used[n])


def test_audio_is_one_chunk_a_commit_and_intra_only_one_key_a_commit() -> None:
    fs = FaultFs()
    run = Rig(fs)
    spec = TrackSpec(rig.track_id(9), rig.track_id(9), rig.track_id(9), TrackKind.AUDIO)
    audio = run.writer.track_state(spec, Names())
    run.put(audio, ConfigItem(rig.AUDIO))
    run.put(audio, *(Sample(bytes([n]) * 160, n * 160, n * 160, 5, rig.T0 + n * 20_000) for n in range(50)))
    mjpeg = run.track(1)
    run.put(mjpeg, *(rig.frame(rig.track_id(1), n)._replace(key_type=KeyType.INTRA_ONLY) for n in range(10)))
    run.commit()
    assert [(c.kind, len(c.samples)) for c in media(fs, spec.track.bytes)] == [(4, 50)]
    assert [(c.kind, len(c.samples)) for c in media(fs, rig.track_id(1).bytes)] == [(1, 1), (3, 9)]


def test_damage_loss_and_discontinuity_are_kept() -> None:
    fs = FaultFs()
    run = Rig(fs)
    frames = [rig.frame(TRACK, n) for n in range(10)]
    frames[3] = frames[3]._replace(lost_packets=7, damaged=True)
    frames[6] = frames[6]._replace(discontinuity=True)
    run.put(run.track(), *frames)
    run.commit()
    chunks = media(fs)
    assert [len(c.samples) for c in chunks] == [1, 5, 4]
    assert [c.flags for c in chunks] == [0, ChunkFlag.DAMAGED, ChunkFlag.DISCONTINUITY]
    assert [(s[4], s[5]) for s in chunks[1].samples] == [(0, False), (0, False), (7, True), (0, False), (0, False)]


def test_times_the_row_cannot_hold_are_refused_or_split() -> None:
    fs = FaultFs()
    run = Rig(fs)
    good = rig.frame(TRACK, 0)
    back = rig.frame(TRACK, 1)._replace(dts=-5, pts=-5)
    wild = rig.frame(TRACK, 2)._replace(pts=1 << 40)
    far = rig.frame(TRACK, 3)._replace(dts=1 << 40, pts=1 << 40)
    run.put(run.track(), good, back, wild, far)
    run.commit()
    assert run.refused_bytes == len(wild.data)
    assert [s[2] for c in media(fs) for s in c.samples] == [0, -5, 1 << 40]


def test_a_new_coding_gets_its_own_config_in_every_segment() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, segment_us=2_000_000))
    for second in range(4):
        run.frames(second * 25, 25)
        if second == 1:
            run.put(run.track(), ConfigItem(TrackConfig("h264", 90_000, b"other", 320, 240)))
        run.commit()
    run.close()
    paths = rig.segment_paths(fs)
    assert len(paths) >= 2
    for path in paths:
        blocks = oracle.blocks(rig.read_all(fs, path))
        first = blocks[0].chunks[0]
        assert first.kind == oracle.CONFIG
    configs = {bytes(c.payload[16:]) for c in all_chunks(fs) if c.kind == oracle.CONFIG}
    assert len(configs) == 2


def test_gap_and_mark_have_a_sequence_number() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 3)
    run.put(run.track(), GapItem(rig.T0, rig.T0 + 5, Cause(State.CAMERA_OFFLINE, "stall", {"s": 3})))
    run.put(run.track(), MarkItem(rig.T0, "clock-step", {"delta_us": 9}))
    run.commit()
    chunks = media(fs)
    assert [c.kind for c in chunks] == [1, 2, 7, 8]
    assert [c.seq for c in chunks] == [0, 1, 2, 3]
    assert b'"reason":"stall"' in chunks[2].payload


def test_commit_numbers_and_what_they_vouch_for() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, segment_us=2_000_000))
    for second in range(5):
        run.frames(second * 25, 25)
        run.commit()
    blocks = [b for path in rig.segment_paths(fs) for b in oracle.blocks(rig.read_all(fs, path))]
    assert [b.counter for b in blocks] == [0, 1, 2, 3, 4]
    assert [b.durable[1] for b in blocks] == [oracle.NONE, 0, 1, 2, 3], "across segments too"


def test_short_writes_are_continued() -> None:
    fs = FaultFs()
    fs.short_writes = True
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    assert run.close() == []
    assert rig.numbers(fs, TRACK) == list(range(25))


def test_a_big_commit_closes_early() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, commit_bytes=1 << 20))
    for first in range(0, 200, 5):  # slots
        run.frames(first, 5, size=20_000)
    run.commit()
    assert len(run.commits) > 3
    assert run.acked == {TRACK: 200}


def test_nothing_is_written_for_a_silent_second() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    before = fs.calls["fdatasync"]
    for _ in range(30):
        run.commit()
    assert fs.calls["fdatasync"] - before <= 1, "only the first commit's ledger records"
    for _ in range(60):
        run.commit()
    assert fs.calls["fdatasync"] - before <= 3, "and a sign of life each minute"


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_or_sync_is_written_again_elsewhere(call: str, number: int) -> None:
    fs = FaultFs()
    run = Rig(fs)
    for second in range(6):
        run.frames(second * 25, 25)
        if second in (2, 4):
            fs.arm(call, 1, number)
        run.commit()
    assert run.acked == {TRACK: 150}
    assert [code for code, _ in run.troubles] == ["storage-error"] * 2
    assert rig.numbers(fs, TRACK) == list(range(150)), "once each, although old tails verify"
    after = fs.crash()
    again = Rig(after, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert rig.numbers(after, TRACK) == list(range(150))
    assert all(path.suffix == ".rseg" for path in rig.segment_paths(after))


def test_the_rewritten_chunk_has_the_same_bytes() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    run.frames(25, 25)
    fs.arm("fdatasync", 1)
    run.commit()
    bodies: dict[int, set[bytes]] = {}
    for path in rig.segment_paths(fs):
        raw = rig.read_all(fs, path)
        for block in oracle.blocks(raw):
            for chunk in block.chunks:
                if chunk.kind in oracle.MEDIA:
                    bodies.setdefault(chunk.seq, set()).add(raw[chunk.offset : chunk.offset + chunk.length])
    assert len(rig.segment_paths(fs)) == 2
    assert all(len(found) == 1 for found in bodies.values())


def test_storage_that_fails_for_long_comes_back_by_itself() -> None:
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    fs.fail_always = {"fdatasync": errno.EIO}
    for second in range(1, 5):
        run.frames(second * 25, 25)
        run.commit()
    assert run.writer.failed
    assert run.acked == {TRACK: 25}
    fs.fail_always = {}
    run.commit()
    assert not run.writer.failed
    assert run.acked == {TRACK: 125}
    assert rig.numbers(fs, TRACK) == list(range(125))
    assert [code for code, _ in run.troubles] == ["storage-error", "storage-recovered"]
    after = fs.crash()
    again = Rig(after, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert rig.numbers(after, TRACK) == list(range(125))


def test_a_seal_that_fails_leaves_the_segment_whole() -> None:
    fs = FaultFs()
    run = Rig(fs, StoreOptions(create=True, segment_us=2_000_000))

    def full_at_footer(name: str) -> None:
        if name == "seal_footer":
            fs.arm("pwritev", 1, errno.ENOSPC)

    fs.hook = full_at_footer
    for second in range(4):
        run.frames(second * 25, 25)
        run.commit()
    fs.hook = None
    assert "seal-failed" in [code for code, _ in run.troubles]
    run.close()
    again = Rig(fs, start_us=rig.T0 + 60_000_000)
    again.recover()
    assert rig.numbers(fs, TRACK) == list(range(100))


def test_direct_writes_fall_back_where_the_file_system_refuses_them() -> None:
    """Some file systems take the flag and refuse the first write: the same bytes then go the ordinary way."""

    class Refusing(FaultFs):
        def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
            if self.fds[fd].direct:
                self.refused = getattr(self, "refused", 0) + 1
                raise OSError(errno.EINVAL, "not aligned as this device wants it")
            return super().pwritev(fd, buffers, offset)

    fs = Refusing()
    run = Rig(fs)
    run.frames(0, 25)
    run.commit()
    assert run.close() == []
    assert fs.refused == 1, "one refusal is enough to know"
    assert rig.numbers(fs, TRACK) == list(range(25))


def test_a_pause_ends_the_chunk_when_commits_are_late() -> None:
    """With a stalled disk many seconds may lie in one commit: what was not there must not look as if it were."""
    fs = FaultFs()
    run = Rig(fs)
    pause = 20 * 25
    run.frames(0, 20, gop=1000)
    run.frames(20 + pause, 20, gop=1000)
    run.commit()
    chunks = sorted((chunk.kind, len(chunk.samples)) for chunk in media(fs))
    assert chunks == [(1, 1), (2, 19), (2, 20)]
