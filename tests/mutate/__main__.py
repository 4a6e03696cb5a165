"""`make mutate N= SEED= K=`: damage every kind of file N times each and read on."""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.mutate.catalog import CatalogTrial
from tests.mutate.judge import judge, learn
from tests.mutate.mutations import KINDS, Mutation, mutate
from tests.mutate.sample import Volume, make

MEMORY_LIMIT = 64 << 20


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(
    volume: Volume, kind: str, count: int, seed: int, first: int | None = None
) -> tuple[Counter[str], list[tuple[int, Mutation, str]]]:
    """`count` mutations of a kind from number `first` on: what became of them, and those that went wrong (number,
    mutation, why)."""
    first = seed * 1_000_003 + 1 if first is None else first
    whole = learn(volume)
    words: Counter[str] = Counter()
    wrong = []
    if kind == "catalog":
        return run_catalog(volume, count, first)
    for own in range(first, first + count):
        rng = random.Random(f"{kind} {own}")
        mutation = mutate(volume, kind, rng)
        words["sealed"] += mutation.sealed
        try:
            words[judge(mutation, volume, whole, rng)] += 1
        except Exception as error:  # whatever escapes the product is what this is about
            last = traceback.extract_tb(error.__traceback__)[-1]
            wrong.append((own, mutation, f"{error!r} in {last.filename.rpartition('/')[2]}:{last.lineno}"))
    return words, wrong


def run_catalog(volume: Volume, count: int, first: int) -> tuple[Counter[str], list[tuple[int, Mutation, str]]]:
    """The same for catalog.db, which is SQLite's and lies on a real disk."""
    words: Counter[str] = Counter()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        trial = CatalogTrial(volume, Path(folder))
        for own in range(first, first + count):
            mutation = trial.mutate(random.Random(f"catalog {own}"))
            words["sealed"] += mutation.sealed
            try:
                words[trial.judge(mutation)] += 1
            except Exception as error:  # as above
                last = traceback.extract_tb(error.__traceback__)[-1]
                wrong.append((own, mutation, f"{error!r} in {last.filename.rpartition('/')[2]}:{last.lineno}"))
    return words, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS)
    args = parser.parse_args()
    volume = make()
    learn(volume)
    before, bad = memory(), 0
    for kind in [args.kind] if args.kind else KINDS:
        start = time.perf_counter()
        words, wrong = run(volume, kind, args.mutations, args.seed)
        took = time.perf_counter() - start
        facts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
        print(f"{kind:10} {args.mutations} in {took:.0f} s: {facts}; {len(wrong)} wrong", flush=True)
        reasons = Counter(why for _, _, why in wrong)
        for why, count in reasons.most_common(12):
            own, mutation, _ = next(one for one in wrong if one[2] == why)
            print(f"    {count} x {why}\n        {own}: {mutation.path.name}: {mutation.what}")
        bad += len(wrong)
    grown = memory() - before
    print(f"memory grew by {grown >> 20} MiB, at most {MEMORY_LIMIT >> 20} MiB allowed")
    return int(bad > 0 or grown > MEMORY_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
