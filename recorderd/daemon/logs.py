"""Logging of the daemon: one line per fact. Fields of its own in the journal, coloured on a terminal, else JSON; no
secret in any of them.

Law: set up once, before anything logs. Every library's log goes the same way. Redaction is the last step before
rendering: values under telling keys, Secrets, and logins inside URLs.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from recorderd.aio.journal import Journal, is_journal
from recorderd.core.secret import Secret

_TELLING_KEY = re.compile(r"pass(word|wd|phrase)?$|secret|token|authori[sz]ation|cookie|credential", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s\"']+@")
_MASK = "***"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_JOURNAL_NAMES = {"camera": "CAMERA_ID", "hardware": "HARDWARE_ID", "storage": "STORAGE"}
_NOISY = {"alembic": logging.WARNING, "aiosqlite": logging.WARNING, "aiohttp.access": logging.WARNING}


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    return {key: _MASK if _TELLING_KEY.search(key) else _clean(value) for key, value in event.items()}


def setup(level: str = "info", stream: TextIO | None = None, journal: Journal | None = None) -> None:
    """`level`: debug, info, warning or error. Writes to stderr unless told otherwise; when that is the journal, or
    `journal` is given, entries go there with a field for each parameter."""
    out = stream or sys.stderr
    if journal is None and stream is None and is_journal(out.fileno()):
        journal = Journal()
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
        if journal is None and out.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _exceptions, redact, *renderer],
    )
    handler = logging.StreamHandler(out) if journal is None else JournalHandler(journal, out)
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


class JournalHandler(logging.StreamHandler[TextIO]):
    """Entries to the journal. What it does not take goes to the stream as JSON, so that nothing is lost unseen."""

    def __init__(self, journal: Journal, stream: TextIO) -> None:
        super().__init__(stream)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if not self._journal.send(journal_fields(json.loads(line))):
                self.stream.write(line + self.terminator)
                self.flush()
        except Exception:  # logging's own rule: a bad log call never stops the program
            self.handleError(record)


def journal_fields(event: Mapping[str, Any]) -> dict[str, str]:
    """A rendered line as fields: MESSAGE for people, PRIORITY for filters, each parameter as RECORDERD_NAME, and
    CAMERA_ID, HARDWARE_ID and STORAGE without prefix."""
    known = {"event", "level", "timestamp", "logger", "exception"}
    params = {key: _text(value) for key, value in event.items() if key not in known}
    shown = " ".join(f"{key}={value}" for key, value in params.items())
    fields = {
        "MESSAGE": f"{event.get('event', '')} {shown}".strip(),
        "PRIORITY": str(_PRIORITIES.get(str(event.get("level")), 6)),
        "SYSLOG_IDENTIFIER": "recorderd",
        "RECORDERD_EVENT": str(event.get("event", "")),
        "RECORDERD_LOGGER": str(event.get("logger", "")),
    }
    if event.get("exception"):
        fields["MESSAGE"] += f"\n{event['exception']}"
    return fields | {_JOURNAL_NAMES.get(key, f"RECORDERD_{key}"): value for key, value in params.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


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
