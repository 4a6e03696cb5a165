"""Which file call is under way, on any thread, and since when: how a disk that does not answer is noticed.

Law: passes every call on unchanged and notes its begin and its end; it cannot end one (a thread in a hung call is
beyond reach). Removing and punching are not noted: a large file may rightly take the disk that long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, cast

from mediadb.fs import Fs

NOTED = (
    "open_read", "open_write", "create", "close", "pread", "pwritev", "fdatasync", "fsync_dir", "truncate",
    "preallocate", "rename", "mkdirs", "listdir", "stat", "fstat", "free_bytes",
)  # fmt: skip
PASSED_ON = ("direct", "punch", "unlink", "rmdir", "lock", "point")


class UnderWay(NamedTuple):
    """A call that has not returned; `began_us` on the clock given."""

    call: str
    began_us: int


class Calls:
    """The calls under way, one per thread at most."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._under_way: dict[int, UnderWay] = {}

    def oldest(self) -> UnderWay | None:
        """The call that has not returned for longest; any thread."""
        return min(list(self._under_way.values()), key=lambda call: call.began_us, default=None)

    def noted(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        under_way, now_us, this_thread = self._under_way, self._now_us, threading.get_ident

        def run(*args: object) -> object:
            me = this_thread()
            under_way[me] = UnderWay(name, now_us())
            try:
                return call(*args)
            finally:
                under_way.pop(me, None)

        return run


class _Watched:
    def __init__(self, fs: Fs, calls: Calls) -> None:
        for name in NOTED:
            setattr(self, name, calls.noted(name, getattr(fs, name)))
        for name in PASSED_ON:
            setattr(self, name, getattr(fs, name))


def watch(fs: Fs, calls: Calls) -> Fs:
    """`fs`, with its calls noted in `calls`."""
    return cast(Fs, _Watched(fs, calls))
