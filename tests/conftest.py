"""For every test: no event loop comes into being unasked.

A plug-in looks up the current loop even for tests without one; Python 3.11 then makes one that nobody closes, and its
ResourceWarning fails whichever test the garbage collector happens to run in. Said once here, there is none.
"""

from __future__ import annotations

import asyncio

asyncio.set_event_loop(None)
