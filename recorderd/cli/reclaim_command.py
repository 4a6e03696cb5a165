"""`recorderctl reclaim`: what retention would remove, how far back footage will reach, and the word to go on.

Law: asks the server and prints; nothing is removed by a question.
"""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from recorderd.cli.arguments import HELD, WRONG
from recorderd.cli.client import Client
from recorderd.cli.show import print_json, printable, size, table

DAY_US = 86_400_000_000


def add_reclaim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("storage", nargs="?", metavar="STORAGE", help="default: all")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="say what would go (what it does without options)")
    what.add_argument("--confirm", action="store_true", help="clock and limits are right: let go what is held back")


async def reclaim(client: Client, args: argparse.Namespace) -> int:
    """Exit code WRONG when something is held back, or a camera will not be kept as long as its limits say."""
    names = [args.storage] if args.storage else [one["name"] for one in await client.items("storages")]
    paths = [f"storages/{quote(name, safe='')}/reclaim" for name in names]
    found = [await (client.post(path) if args.confirm else client.get(path)) for path in paths]
    if args.json:
        print_json({"items": found})
    elif args.confirm:
        for one in found:
            print(f"{printable(one['storage'])}: {one['state']} {one['reason']} -> goes on".replace("  ", " "))
    else:
        for one in found:
            _show(one)
    if args.confirm:
        return HELD
    return WRONG if any(_wrong(one) for one in found) else HELD


def _wrong(found: dict[str, Any]) -> bool:
    return found["state"] != "free" or any(one["short"] for one in found["forecast"]["cameras"])


def _show(found: dict[str, Any]) -> None:
    forecast = found["forecast"]
    held = "" if found["state"] == "free" else f"; deletion by age is {found['state']} ({found['reason']})"
    full = "" if forecast["full_us"] is None else f", full in {_days(forecast['full_us'])}"
    rate = size(forecast["rate_bytes_s"])
    print(f"{printable(found['storage'])}: keeps {_days(forecast['kept_us'])} at {rate}/s{full}{held}")
    for word, plan in (("now", found["now"]), ("after a reload", found["after_reload"])):
        if plan is not None:
            print(f"  {word} goes: {size(plan['bytes'])} in {plan['segments']} segments")
            for part in plan["parts"]:
                print(f"    {printable(part['camera'] or 'all cameras')}: {size(part['bytes'])} by {part['rule']}")
    rows = [
        (
            one["camera"], f"{size(one['rate_bytes_s'])}/s", _days(one["kept_us"]), _days(one["wanted_us"]),
            "will not reach its retention" if one["short"] else "",
        )
        for one in forecast["cameras"]
    ]  # fmt: skip
    if rows:
        print(table(("CAMERA", "RATE", "KEEPS", "LIMIT", ""), rows))


def _days(us: int | None) -> str:
    return "no limit" if us is None else f"{us / DAY_US:.1f} d"
