"""Logging of the daemon: one line per fact, JSON for machines, coloured for a terminal, no secret in either.

Law: set up once, before anything logs. Every library's log goes the same way. Redaction is the last step before
rendering: values under telling keys, Secrets, and logins inside URLs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from recorderd.core.secret import Secret

_TELLING_KEY = re.compile(r"pass(word|wd|phrase)?$|secret|token|authori[sz]ation|cookie|credential", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s\"']+@")
_MASK = "***"
_NOISY = {"alembic": logging.WARNING, "aiosqlite": logging.WARNING, "aiohttp.access": logging.WARNING}


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    return {key: _MASK if _TELLING_KEY.search(key) else _clean(value) for key, value in event.items()}


def setup(level: str = "info", stream: TextIO | None = None) -> None:
    """`level`: debug, info, warning or error. Writes to stderr unless told otherwise."""
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if out.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _exceptions, redact, *renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name, lowest in _NOISY.items():
        logging.getLogger(name).setLevel(max(lowest, number))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)


def _exceptions(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Render tracebacks to text here, so that redaction sees them."""
    return structlog.processors.format_exc_info(logger, method, event)


def _clean(value: Any) -> Any:
    if isinstance(value, Secret):
        return _MASK
    if isinstance(value, str):
        return _URL_LOGIN.sub(f"{_MASK}@", value)
    if isinstance(value, dict):
        return {key: _MASK if _TELLING_KEY.search(str(key)) else _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner) for inner in value]
    return value
