"""`why` and `report`: why a moment is there or missing, and what a week was like.

Law: ask the server, show the answer with the words of `mediadb.cause_words`; no judgement of its own.
"""

from __future__ import annotations

import argparse
from typing import Any

from mediadb.cause_words import sentence
from mediadb.report_text import report_text
from recorderd.cli.arguments import HELD, Parser, time_text
from recorderd.cli.client import Client, segment
from recorderd.cli.show import cause, print_json, printable
from recorderd.core.errors import UsageError


async def why(client: Client, args: argparse.Namespace) -> int:
    """What holds at a moment, in words, with its neighbours."""
    found = await client.get(f"cameras/{segment(args.camera)}/why", time=args.time)
    if args.json:
        print_json(found)
        return HELD
    print(f"{printable(found['name'])} at {found['time']}: {printable(cause(found))}")
    print(f"  {printable(sentence(found['state'], found['reason']))}")
    for word, stretch in (("before", found["before"]), ("then", found), ("after", found["after"])):
        if stretch is not None:
            print(f"  {word:6}  {stretch['start']} .. {stretch['end']}  {printable(cause(stretch))}")
    return HELD


async def report(client: Client, args: argparse.Namespace) -> int:
    """A week or a range, per camera: as text that fits a mail, or as JSON."""
    if args.week and (args.start or args.end):
        raise UsageError("give --week, or --from and --to, not both")
    query: dict[str, Any] = {
        "cameras": ",".join(args.cameras) or None,
        "week": args.week,
        "zone": args.zone,
        "start": args.start,
        "end": args.end,
    }
    found = await client.get("reports/coverage", **query)
    if args.json:
        print_json(found)
    else:
        print(report_text(found), end="")
    return HELD


def add_report(parser: Parser) -> None:
    """The arguments of `report`."""
    parser.add_argument("cameras", nargs="*", metavar="CAMERA", help="default: all")
    parser.add_argument("--week", metavar="WEEK", help="such as 2026-W47; default: the week that runs")
    parser.add_argument("--zone", metavar="ZONE", help="of the borders of the week, such as Europe/Berlin; else UTC")
    parser.add_argument("--from", dest="start", type=time_text, metavar="TIME", help="another range, up to 31 days")
    parser.add_argument("--to", dest="end", type=time_text, metavar="TIME", help="its end; default now")
