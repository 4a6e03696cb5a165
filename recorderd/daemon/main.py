"""`recorderd run`: from a file to an exit code.

Law: loads the configuration, sets up logging and the loop, turns signals into calls. Exit codes: 0 stopped and all
durable, 1 something was lost or could not start, 2 the configuration cannot be used.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.config.findings import ConfigRejected
from recorderd.config.load import load, look_nowhere
from recorderd.config.schema import Config
from recorderd.core.errors import RecorderdError
from recorderd.daemon import logs
from recorderd.daemon.compose import Daemon
from recorderd.engine.registry import Registry

HELD, WRONG, CONFIGURATION = 0, 1, 2

_log = structlog.get_logger("daemon")


def run(path: Path) -> int:
    """Record until SIGTERM or SIGINT."""
    logs.setup()
    registry = Registry.discover()
    found = load(path, registry.infos, look_nowhere)
    for warning in found.warnings:
        _log.warning("config-warning", finding=str(warning))
    if found.config is None:
        for error in found.errors:
            _log.error("config-error", file=error.file or str(path), path=error.path, message=error.message)
        return CONFIGURATION
    logs.setup(found.config.server.log_level)
    gc.collect()  # once and before the loop runs, where nobody waits for it
    with asyncio.Runner(loop_factory=_loop_factory(found.config)) as runner:
        code = runner.run(_serve(path, found.config, registry))
        # A thread may hang in a disk call that never returns; all is written or named, so nothing waits for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def _serve(path: Path, config: Config, registry: Registry) -> int:
    daemon = Daemon(path, config, registry, SystemClock())
    stop = asyncio.Event()
    async with Supervisor("signals") as signals:
        _on_signals(stop, lambda: signals.start("reload", _reload(daemon)))
        code = HELD
        try:
            await daemon.start()
            await stop.wait()
        except RecorderdError as error:
            _log.error(error.code, message=error.message, **error.params)
            code = WRONG
        except Exception:  # a bug while starting: what was started is still taken down in order
            _log.exception("start-failed")
            code = WRONG
        lost = await daemon.stop()
    for what in lost:
        _log.error("not-durable", what=what)
    return WRONG if lost else code


def _on_signals(stop: asyncio.Event, reload: Callable[[], object]) -> None:
    """The first stop signal stops in order, a second one at once."""
    loop = asyncio.get_running_loop()

    def stop_now() -> None:
        if stop.is_set():
            os._exit(WRONG)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_now)
    loop.add_signal_handler(signal.SIGHUP, reload)


async def _reload(daemon: Daemon) -> None:
    try:
        await daemon.reload()
    except ConfigRejected as error:
        for one in error.errors:
            _log.error("config-error", file=one.file, path=one.path, message=one.message)


def _loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if config.server.loop != "uvloop":
        return None
    try:
        import uvloop
    except ImportError:
        _log.warning("uvloop-missing", message='loop = "uvloop" is configured but not installed: asyncio is used')
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
