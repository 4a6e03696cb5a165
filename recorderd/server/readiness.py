"""What the server is made of and whether each part can be relied on, for /readyz and `recorderctl doctor`.

Law: plain values. A part is ready when recording or serving can count on it now; `reason` says what is missing and is
empty otherwise. `needed`: without it recording cannot be relied on, and /readyz answers 503.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subsystem:
    name: str
    ready: bool
    reason: str = ""
    needed: bool = True
