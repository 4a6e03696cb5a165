"""JSON answers.

Law: one way to turn values into a response. Called by the handlers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web


def json_answer(value: Mapping[str, Any], status: int = 200) -> web.Response:
    """Compact JSON; UUIDs, paths and enums are shown as text, bytes of a file name that are none as "?"."""
    body = json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    return web.Response(body=body, status=status, content_type="application/json")
