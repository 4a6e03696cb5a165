"""Follow the events of a recording server, one line each.

    python examples/follow_events.py                    what happens from now on
    python examples/follow_events.py --after 0          everything that is stored, then what happens
    python examples/follow_events.py --json --state F   JSON lines; F keeps the last id for the next start

Ctrl-C ends it. Nothing is missed and nothing comes twice, whatever happens to the connection.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import command_line

from recorderd.client import Event


def line(event: Event, as_json: bool) -> str:
    if as_json:
        return json.dumps(dataclasses.asdict(event), sort_keys=True)
    at = datetime.fromtimestamp(event.time_us / 1e6, UTC).isoformat(timespec="milliseconds")
    words = " ".join(f"{key}={value}" for key, value in sorted(event.params.items()))
    return f"{event.id} {at} {event.code} {event.camera or event.hardware or '-'} {words}".rstrip()


def remember(path: Path, ident: int) -> None:
    """Whole or not at all: a kill in between leaves the old number."""
    draft = path.with_suffix(".new")
    draft.write_text(f"{ident}\n")
    os.replace(draft, path)


async def main(args: argparse.Namespace) -> int:
    after = args.after
    if args.state is not None and args.state.exists():
        after = int(args.state.read_text())
    async with command_line.client(args) as client, client.events(after) as events:
        count = 0
        async for event in events:
            print(line(event, args.json), flush=True)
            if args.state is not None:
                remember(args.state, event.id)
            count += 1
            if count == args.count:
                break
    return command_line.DONE


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("--after", type=int, help="id of an event to go on behind (only new ones)")
    parser.add_argument("--state", type=Path, help="file that keeps the last id; wins over --after once it is there")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--count", type=int, help="end after so many")
    sys.exit(command_line.run(main(command_line.arguments(parser))))
