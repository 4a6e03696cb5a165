"""What can be wrong with a simulated camera: parsed from the command line, answered as questions about time.

Law: pure; time is an argument. A fault with START happens once per camera, START after its first PLAY on any
connection. Everything random comes from the seed, the camera and the picture's number, so two runs lose the same.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from recorderd.core.errors import UsageError
from recorderd.core.timerange import parse_duration

DEFAULT_START_US = 10_000_000
_CAMERA = re.compile(r"cam/(\d+)=(.+)", re.ASCII)
_FAULT = re.compile(r"(?P<kind>[a-z]+)(?::(?P<args>[+-]?[^+]*))?(?:\+(?P<start>\d+(?:ms|s|m|h)))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_us` after the first PLAY, for `duration_us`."""

    start_us: int
    duration_us: int

    def holds(self, since_play_us: int) -> bool:
        return self.start_us <= since_play_us < self.start_us + self.duration_us


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything that is wrong with one camera; the default is a healthy one."""

    loss: float = 0.0  # share of RTP packets, about
    burst: int = 1  # 1: each packet by itself; N: runs that reach over N pictures
    stall: Window | None = None
    reboot: Window | None = None
    params_start_us: int | None = None
    step_us: int = 0
    step_start_us: int = DEFAULT_START_US
    drift_ppm: float = 0.0
    auth: bool = False

    @property
    def touches_media(self) -> bool:
        """False when the camera sends exactly what a healthy one does (if it sends at all)."""
        return self != Faults(auth=self.auth)

    def stalled(self, since_play_us: int) -> bool:
        return self.stall is not None and self.stall.holds(since_play_us)

    def down(self, since_play_us: int) -> bool:
        return self.reboot is not None and self.reboot.holds(since_play_us)

    def boots(self, since_play_us: int) -> int:
        """How many reboots have begun: RTP starts over with each."""
        return int(self.reboot is not None and since_play_us >= self.reboot.start_us)

    def changed_params(self, since_play_us: int) -> bool:
        return self.params_start_us is not None and since_play_us >= self.params_start_us

    def stepped_us(self, since_play_us: int) -> int:
        """How far the camera's clock is off by the step."""
        return self.step_us if self.step_us and since_play_us >= self.step_start_us else 0

    def lost(self, key: str, number: int, packets: int) -> frozenset[int]:
        """Which of picture `number`'s packets are dropped; `key` names the seed, camera and stream."""
        if not self.loss:
            return frozenset()
        if self.burst == 1:
            dice = random.Random(f"{key}/{number}")
            return frozenset(index for index in range(packets) if dice.random() < self.loss)
        block, place = divmod(number, self.burst)
        dice = random.Random(f"{key}/burst/{block}")
        if dice.random() >= self.loss:
            return frozenset()
        # The run begins inside the block's first picture and ends inside its last, as a real one does.
        first = int(dice.random() * packets) if place == 0 else 0
        last = int(dice.random() * packets) if place == self.burst - 1 else packets
        return frozenset(range(first, last))

    def as_json(self) -> dict[str, object]:
        """What is not healthy, for the log."""
        healthy = Faults()
        found: dict[str, object] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value != getattr(healthy, name):
                found[name] = (
                    {"start_us": value.start_us, "duration_us": value.duration_us}
                    if isinstance(value, Window)
                    else value
                )
        return found


def parse_fault_option(text: str) -> tuple[int, Faults]:
    """'cam/2=loss:5%,stall:10s+5s' as (2, Faults). Raises UsageError naming the part that cannot be read."""
    found = _CAMERA.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a fault: {text!r}; write cam/NUMBER=KIND[:ARGUMENT][+START][,...]")
    return int(found[1]), add_faults(Faults(), found[2])


def add_faults(faults: Faults, text: str) -> Faults:
    """`faults` with the comma-separated ones of `text` added."""
    for part in text.split(","):
        found = _FAULT.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"not a fault: {part!r}; write KIND[:ARGUMENT][+START], like stall:10s+5s")
        start_us = parse_duration(found["start"]) if found["start"] else None
        faults = _add(faults, part, (found["kind"], found["args"] or ""), start_us)
    return faults


def _add(faults: Faults, part: str, what: tuple[str, str], start_us: int | None) -> Faults:
    kind, argument = what
    begin_us = DEFAULT_START_US if start_us is None else start_us
    if kind in ("stall", "reboot"):
        window = Window(begin_us, parse_duration(argument))
        return replace(faults, stall=window) if kind == "stall" else replace(faults, reboot=window)
    if kind == "step":
        sign = -1 if argument.startswith("-") else 1
        return replace(faults, step_us=sign * parse_duration(argument.lstrip("+-")), step_start_us=begin_us)
    if kind == "params" and not argument:
        return replace(faults, params_start_us=begin_us)
    if start_us is not None:
        raise UsageError(f"the fault {part!r} holds all the time: leave out its start")
    if kind == "loss":
        share, _, burst = argument.partition("x")
        pictures = int(_number(part, burst, 1, 1000)) if burst else 1
        return replace(faults, loss=_number(part, share.removesuffix("%"), 0, 100) / 100, burst=pictures)
    if kind == "drift":
        return replace(faults, drift_ppm=_number(part, argument.removesuffix("ppm"), -100_000, 100_000))
    if kind == "auth" and not argument:
        return replace(faults, auth=True)
    raise UsageError(f"not a fault: {part!r}; kinds: loss stall reboot params step drift auth")


def _number(part: str, text: str, low: float, high: float) -> float:
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII) or not low <= float(text) <= high:
        raise UsageError(f"the fault {part!r} needs a number from {low:g} to {high:g}")
    return float(text)
