"""Every error the media database raises on purpose.

Law: an error is a stable `code` with JSON-able parameters; the text names the place and the next move. A bug never
inherits from these classes. Imports nothing; every module of the package may import it.
"""

from __future__ import annotations

from typing import ClassVar


class MediaDbError(Exception):
    """Base: `code` is stable across versions, `params` are JSON-able, str(error) is a sentence for people."""

    code: ClassVar[str] = "mediadb-error"

    def __init__(self, message: str, **params: object) -> None:
        super().__init__(message)
        self.message = message
        self.params: dict[str, object] = params


class FormatError(MediaDbError):
    """Bytes are not what the format says. `params`: place (file, offset) where known."""

    code = "format-error"


class UnsupportedVersion(FormatError):
    """A structure of a later format version, or with feature bits this reader must not ignore."""

    code = "format-unsupported"


class StorageError(MediaDbError):
    """A volume or a log cannot be used for writing; nothing was written."""

    code = "storage-error"


class StorageMissing(StorageError):
    """There is no volume where one was expected (not mounted, or never initialised)."""

    code = "storage-missing"


class StorageStalled(StorageError):
    """The disk has not answered for seconds; ask again later. Nothing is known to be lost."""

    code = "storage-stalled"


class StorageForeign(StorageError):
    """The volume or the log belongs to somebody else."""

    code = "storage-foreign"


class StorageDoublyOwned(StorageError):
    """Two logs of this storage name the same owner: a copy or a clone was mounted."""

    code = "storage-doubly-owned"


class StorageOlder(StorageError):
    """The log is older than what is known of it: a restored backup, snapshot or clone."""

    code = "storage-older"


class StorageLocked(StorageError):
    """Another process has this log open for writing."""

    code = "storage-locked"


class StorageDamaged(StorageError):
    """VOLUME or both slots of LOG cannot be read; repair before writing."""

    code = "storage-damaged"


class ChunkError(MediaDbError):
    """A chunk cannot be given back."""

    code = "chunk-error"


class ChunkGone(ChunkError):
    """The chunk was removed on purpose: `state` is "groomed" or "deleted"."""

    code = "chunk-gone"

    def __init__(self, message: str, state: str = "deleted", **params: object) -> None:
        super().__init__(message, state=state, **params)
        self.state = state


class ChunkCorrupt(ChunkError):
    """The bytes on disk are not the bytes that were written; `params`: file, offset."""

    code = "chunk-corrupt"


class ChunkNotDurable(ChunkError):
    """The chunk is not on disk yet; ask again after the next commit."""

    code = "chunk-not-durable"
