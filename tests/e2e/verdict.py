"""The verdict on a storage whose recorder was killed or lost its power again and again.

Law: compares three independent accounts: the farm's log (what was sent), the acknowledgements heard from outside (what
was promised) and the second parser's findings (what is there); then asks the product's own tools whether they tell the
same story: `mediadb verify` is green and `mediadb coverage` declares every second that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.e2e.acknowledged import Ending
from tests.e2e.harness import run_mediadb
from tests.e2e.oracle import Footage, look

FPS = 25
EDGE_US = 500_000  # coverage may be this far off at either end of a hole: it goes by arrival, frames by their making
DECLARED = ("server-down", "camera-offline", "storage-error", "not-scheduled", "overload-shed", "deleted")


@dataclass
class Verdict:
    """`lost`: per connection of a camera the frames it sent that are not there. `wrong`: everything forbidden.

    `late`: losses above the bound in which the server had said so: its last acknowledgement was that old when it ended.
    """

    max_lost: int
    lost: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    removed: int = 0  # frames that retention took
    bytes: int = 0  # of all segments that are left

    @property
    def worst(self) -> int:
        """Of all losses but the late ones."""
        return max(self.lost, default=0)

    def floor(self, footage: Footage, endings: Iterable[Ending], reclaiming: bool, where: str = "") -> None:
        """Every acknowledged chunk is there; where retention runs, all from the oldest one that is there on."""
        runs: dict[Any, list[tuple[int, int]]] = {}
        for ending in endings:
            for (track, run), next_seq in ending.floor.items():
                runs.setdefault(track, []).append((run, next_seq))
        for track, promised in runs.items():
            there = footage.tracks[track].chunks if track in footage.tracks else set()
            places = [(run, seq) for run, next_seq in promised for seq in range(next_seq)]
            skip = next((n for n, place in enumerate(places) if place in there), len(places)) if reclaiming else 0
            gone = [place for place in places[skip:] if place not in there]
            if gone:
                name = footage.tracks[track].camera if track in footage.tracks else str(track)
                run, seq = gone[0]
                self.wrong.append(
                    f"{where}{name}: {len(gone)} acknowledged chunks are gone, first {seq} of run {run:016x}"
                )
            if reclaiming and skip == len(places):
                self.wrong.append(f"{where}{track}: nothing acknowledged is left at all")

    def sent(self, footage: Footage, lines: list[dict[str, Any]], endings: list[Ending], reclaiming: bool) -> None:
        """The farm's log against what is there, connection by connection."""
        for number in sorted({line["camera"] for line in lines}):
            frames = footage.frames(f"cam{number}")
            oldest = min(frames, default=0) if reclaiming else 0
            for line in lines:
                if line["camera"] == number and line["sent"]:
                    self._connection(number, frames, line, oldest, endings)

    def _connection(
        self, number: int, frames: dict[int, int], line: dict[str, Any], oldest: int, endings: list[Ending]
    ) -> None:
        first, last = max(line["first"], oldest), line["last"]
        self.removed += max(0, min(oldest, last + 1) - line["first"])
        if first > last:
            return
        if line["skipped"] or line["dropped"]:
            self.wrong.append(f"cam{number}: the farm itself left frames out; this run says nothing")
        kept = [n for n in range(first, last + 1) if n in frames]
        lost = last + 1 - first - len(kept)
        promised_s = _promise_age_s(number, frames, line, endings)
        late = lost > self.max_lost and lost <= (promised_s + 0.2) * FPS
        (self.late if late else self.lost).append(lost)
        sent = f"cam{number}: of {first}..{last}"
        if kept and kept != list(range(kept[0], kept[-1] + 1)):
            missing = sorted(set(range(kept[0], kept[-1] + 1)) - set(kept))
            self.wrong.append(f"{sent} a hole in between: {missing[0]}..{missing[-1]}, {len(missing)} frames")
        if kept and kept[0] != first:
            self.wrong.append(f"{sent} the first {kept[0] - first} are missing, later ones are there")
        if lost > self.max_lost and not late:
            self.wrong.append(f"{sent} {lost} are lost, allowed {self.max_lost}")

    def told(self, volume: Path, footage: Footage, cameras: list[str]) -> None:
        """verify is green, and coverage names a cause for every hole between frames and nothing `unexplained`."""
        done = run_mediadb("verify", str(volume))
        if done.returncode:
            self.wrong.append(f"verify is red: {done.stdout[-1500:]}{done.stderr[-500:]}")
        for camera in cameras:
            frames = footage.frames(camera)
            if frames:
                self._declared(volume, camera, frames)

    def _declared(self, volume: Path, camera: str, frames: dict[int, int]) -> None:
        low, high = min(frames.values()), max(frames.values())
        span = ["--start", _text(low), "--end", _text(high)]
        done = run_mediadb("coverage", str(volume), camera, *span, "--json")
        if done.returncode:
            self.wrong.append(f"coverage of {camera}: {done.stderr}")
            return
        states = [
            (_us(one["start"]), _us(one["end"]), one["state"])
            for track in json.loads(done.stdout)["tracks"]
            for one in track["coverage"]
        ]
        for start, end, state in states:
            if state not in ("recorded", *DECLARED):
                self.wrong.append(f"{camera}: {(end - start) / 1e6:.2f} s from {_text(start)} are {state}")
        for (n, before), (m, after) in pairwise(sorted(frames.items())):
            if m > n + 1 and after - before > 3 * EDGE_US:
                covered = sum(
                    max(0, min(end, after - EDGE_US) - max(start, before + EDGE_US))
                    for start, end, state in states
                    if state in DECLARED
                )
                if covered < after - before - 2 * EDGE_US:
                    self.wrong.append(f"{camera}: frames {n + 1}..{m - 1} are missing and coverage does not say so")


def judge(
    volume: Path, lines: list[dict[str, Any]], endings: list[Ending], max_lost: int, reclaiming: bool = False
) -> Verdict:
    """Everything above, after a clean stop."""
    footage = look(volume)
    verdict = Verdict(max_lost, wrong=list(footage.wrong), bytes=footage.bytes)
    verdict.floor(footage, endings, reclaiming)
    verdict.sent(footage, lines, endings, reclaiming)
    verdict.told(volume, footage, sorted({f"cam{line['camera']}" for line in lines}))
    return verdict


def _promise_age_s(number: int, frames: dict[int, int], line: dict[str, Any], endings: list[Ending]) -> float:
    """How old the last acknowledgement of that camera was when the connection ended; without one, its whole length."""
    if not frames:
        return 0
    n, us = next(iter(frames.items()))
    last_us = us + (line["last"] - n) * 1_000_000 // FPS
    ending = min(endings, key=lambda one: abs(one.at_us - last_us))
    since_us = max(ending.until_us.get(f"cam{number}", 0), last_us - (line["last"] - line["first"]) * 1_000_000 // FPS)
    return (last_us - since_us) / 1e6


def _us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def _text(us: int) -> str:
    from recorderd.core.timerange import format_time

    return format_time(us)
