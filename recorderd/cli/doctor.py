"""`recorderctl doctor`: what is wrong with this server and its machine, and what to do about it.

Law: gathers facts (the server's through its API, the machine's by `doctor_probe`), shows the findings of
`doctor_checks`. Without a server the machine is still looked at, with the storages of the configuration file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recorderd.cli import doctor_checks as checks
from recorderd.cli import doctor_probe as probe
from recorderd.cli.arguments import HELD, UNCHECKED, UNREACHABLE, WRONG
from recorderd.cli.client import Client, Unreachable
from recorderd.cli.doctor_checks import Finding, Level
from recorderd.cli.show import print_json, printable, table
from recorderd.core.timerange import parse_time

_ORDER = (Level.WRONG, Level.WARNING, Level.UNCHECKED, Level.OK)


@dataclass(slots=True)
class Facts:
    """What the server said; empty without one."""

    status: dict[str, Any] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    storages: list[dict[str, Any]] = field(default_factory=list)
    unreachable: str = ""


async def doctor(client: Client, args: argparse.Namespace) -> int:
    """WRONG when something is; UNREACHABLE without a server; UNCHECKED when only that is left to say."""
    facts = await _ask(client, Path(args.config))
    findings = await asyncio.to_thread(lambda: list(_findings(facts, not args.no_write_test)))
    findings.sort(key=lambda finding: _ORDER.index(finding.level))
    if args.json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    levels = {finding.level for finding in findings}
    if facts.unreachable:
        return UNREACHABLE
    return WRONG if Level.WRONG in levels else UNCHECKED if Level.UNCHECKED in levels else HELD


async def _ask(client: Client, config: Path) -> Facts:
    facts = Facts()
    try:
        facts.status = await client.get("status")
        facts.storages = facts.status["storages"]
        facts.parts = (await client.readiness())["subsystems"]
        facts.figures = read_figures(await client.text("/metrics"))
    except Unreachable as error:
        facts.unreachable = str(error)
        facts.storages = _configured(config)
    return facts


def _configured(config: Path) -> list[dict[str, Any]]:
    """Storages of the configuration file, as far as it can be read."""
    from recorderd.config.load import load, look_nowhere
    from recorderd.engine.registry import Registry

    found = load(config, Registry.discover().infos, look_nowhere, os.environ, checking=True).config
    storages = found.storages if found is not None else ()
    return [{"name": one.name, "path": str(one.path), "state": "unknown", "stats": {}} for one in storages]


def _findings(facts: Facts, write_test: bool) -> Iterator[Finding]:
    yield checks.check_clock(probe.clock_facts())
    if facts.unreachable:
        yield Finding("server", "server", Level.WRONG, facts.unreachable, "systemctl status recorderd")
    else:
        yield checks.check_cameras(facts.status)
        yield checks.check_loop(facts.figures)
        yield from checks.check_parts(facts.parts)
    for storage in facts.storages:
        yield from _storage(storage, _uptime_s(facts.status), bool(facts.unreachable), write_test)


def _storage(storage: dict[str, Any], uptime_s: float, alone: bool, write_test: bool) -> Iterator[Finding]:
    name, path, stats = storage["name"], Path(storage["path"]), storage["stats"]
    yield from checks.check_mount(name, str(path), probe.mount_facts(path), storage["state"])
    needed = stats.get("committed_bytes", 0) / uptime_s if uptime_s else 0.0
    measured, why_not = None, ""
    if write_test:
        try:
            measured = probe.disk_facts(path)
        except OSError as error:
            why_not = f"{path}: {error.strerror}"
    yield checks.check_disk(name, measured, needed, why_not)
    if not alone:
        yield checks.check_space(name, stats, uptime_s)


def _uptime_s(status: dict[str, Any]) -> float:
    if not status:
        return 0.0
    return (parse_time(status["time"], 0) - parse_time(status["started"], 0)) / 1e6


def read_figures(text: str) -> dict[str, float]:
    """Figures without labels of a /metrics page."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#") and "{" not in line)
    return {words[0]: float(words[1]) for words in lines if len(words) == 2}


def _show(findings: list[Finding]) -> None:
    rows = [(one.level, one.check, one.subject, printable(one.text)) for one in findings]
    print(table(("LEVEL", "CHECK", "OF", "FINDING"), rows))
    for finding in findings:
        if finding.fix and finding.level is not Level.OK:
            print(f"\n{finding.check} of {printable(finding.subject)}: {printable(finding.text)}\n  -> {finding.fix}")
