"""Opaque cursors of paged lists.

Law: pure. A cursor holds the last key given out; clients pass it back unread. Called by the list handlers.
"""

from __future__ import annotations

import base64
import binascii

from recorderd.server.problems import Refusal


def encode_cursor(path: str, key: int) -> str:
    """The cursor that continues the list `path` behind the row `key`."""
    return base64.urlsafe_b64encode(f"{path}:{key}".encode()).decode().rstrip("=")


def decode_cursor(path: str, cursor: str) -> int | None:
    """The key, or None for ''. Raises Refusal (bad-cursor)."""
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        owner, _, key = text.partition(":")
        if owner != path or not key.isascii() or not key.isdigit() or len(key) > 19:
            raise ValueError
        return int(key)
    except (ValueError, binascii.Error):
        raise Refusal("bad-cursor", f"the cursor does not belong to {path}; start without one") from None
