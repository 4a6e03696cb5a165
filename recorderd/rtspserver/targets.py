"""The URL of a request taken apart: mount, query, track.

Law: pure text. Called by the session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from recorderd.rtspserver.describe import TRACK_CONTROL


@dataclass(frozen=True, slots=True)
class Target:
    """A request's URL taken apart: `base` is everything before track and query; `track` is None for the whole mount."""

    base: str
    path: str
    query: str
    track: int | None


def parse_target(url: str) -> Target | None:
    """Split an rtsp URL; None when it is none. A track may stand behind the path or, as some clients join addresses,
    behind the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("rtsp", "rtspt", "rtspu") or not parts.netloc:
        return None
    path, query, track = parts.path, parts.query, None
    pattern = re.compile(rf"/{TRACK_CONTROL}(\d{{1,3}})/?$")
    for text in (path, query):
        found = pattern.search(text)
        if found:
            track = int(found[1])
    path, query = pattern.sub("", path), pattern.sub("", query).rstrip("/")
    path = path.rstrip("/") or "/"
    return Target(f"{parts.scheme}://{parts.netloc}{path}", unquote(path), query, track)
