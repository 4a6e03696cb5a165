"""One checked message of a client.

Law: a plain value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recorderd.core.rights import Right


@dataclass(frozen=True, slots=True)
class Request:
    """`id` is the client's own number for it, None when it gave none; `right` what its type declares."""

    subscription: int
    head: Mapping[str, Any]
    id: int | None
    right: Right
