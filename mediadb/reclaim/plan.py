"""Which footage goes: what, why, by which rule, how many bytes.

Law: pure; the same plan is shown by a dry run and carried out by the reclaimer. Segments are looked at in the order in
which they were recorded, whatever the clock said then. By age a class goes from a segment as a whole, as soon as the
last of its footage there is too old; a camera over its own limit of size loses its oldest; the limits of the storage
take what is oldest, whoever it belongs to, but nothing younger than its camera's minimum.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mediadb.reclaim.facts import NEVER, Member, SegmentFact
from mediadb.reclaim.limits import Need, ReclaimOptions

RULE_AGE: Final = "age"
RULE_CAMERA_SIZE: Final = "camera-size"
RULE_SIZE: Final = "size"
RULE_SPACE: Final = "space"
AHEAD_US: Final = 86_400_000_000  # footage that ends later than that after now was recorded with a wrong clock
BATCH: Final = 64  # segments touched in one step, so that commits are never kept waiting for long


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes of one segment. `rules`: the tracks that go and why; None: all that is in it, by `rule`. `whole`: the
    file goes. `freed_bytes` is an estimate where it does not."""

    fact: SegmentFact
    rule: str
    freed_bytes: int
    rules: dict[uuid.UUID, str] | None = None
    whole: bool = True


def plan(
    facts: Iterable[SegmentFact], need: Need, options: ReclaimOptions | None = None, batch: int = BATCH
) -> list[Removal]:
    """Pure: what goes, oldest first, at most `batch` segments. `facts` come oldest first; without limits of single
    cameras they are looked at only as far as needed."""
    planner = _Planner(need, options or ReclaimOptions())
    ahead: list[SegmentFact] = []  # recorded while the clock was ahead: they age with what was recorded after them
    for fact in facts:
        removal = planner.look(fact)
        if removal is None and fact.end_us > need.now_us + AHEAD_US:
            ahead.append(fact)
            continue
        if removal is not None:
            ahead = planner.take_ahead(ahead, removal, batch - 1)
            planner.take(removal)
        elif not planner.options.by_track:
            break
        if len(planner.out) == batch:
            break
    return planner.out


@dataclass(slots=True)
class _Planner:
    need: Need
    options: ReclaimOptions
    out: list[Removal] = field(default_factory=list)
    freed: int = 0
    aged: int = 0
    over: dict[uuid.UUID, int] = field(init=False)

    def __post_init__(self) -> None:
        self.over = dict(self.need.cameras)

    def take(self, removal: Removal) -> None:
        self.out.append(removal)
        self.freed += removal.freed_bytes

    def take_ahead(self, ahead: list[SegmentFact], later: Removal, batch: int) -> list[SegmentFact]:
        """Of segments from a clock that was ahead what ages with `later`, recorded after them; those that are left."""
        left = []
        for fact in ahead:
            removal = self._as_old_as(fact, later) if len(self.out) < batch else None
            if removal is None:
                left.append(fact)
            else:
                self.take(removal)
        return left

    def _as_old_as(self, fact: SegmentFact, later: Removal) -> Removal | None:
        """What goes of a segment because the same classes of a later one are too old."""
        if later.rules is None:
            return Removal(fact, RULE_AGE, fact.disk_bytes) if later.rule == RULE_AGE else None
        number, rules = self.options.classes.number, later.rules
        old = {number(member.camera) for member in later.fact.members if rules.get(member.track) == RULE_AGE}
        if not fact.members:  # whose it is cannot be known: it is kept as long as any
            last = len(self.options.classes.limits_us) - 1
            return Removal(fact, RULE_AGE, fact.disk_bytes) if last in old else None
        aged = {member: RULE_AGE for member in fact.members if number(member.camera) in old}
        return self._removal(fact, aged) if aged else None

    def look(self, fact: SegmentFact) -> Removal | None:
        if not self.options.by_track or not fact.members:
            rule = self._rule_of_whole(fact)
            return Removal(fact, rule, fact.disk_bytes) if rule else None
        short = self._short_of()
        if not short and not self.over and not self._due(fact):
            return None
        rules = self._rules(fact, short)
        return self._removal(fact, rules) if rules else None

    def _removal(self, fact: SegmentFact, rules: Mapping[Member, str]) -> Removal:
        """These tracks, counted against what is asked for."""
        sizes = dict(zip(fact.members, fact.sizes, strict=True))
        for member, rule in rules.items():
            if rule == RULE_AGE:
                self.aged += sizes[member]
            if member.camera in self.over:
                self.over[member.camera] -= sizes[member]
                if self.over[member.camera] <= 0:
                    del self.over[member.camera]
        whole = len(rules) == len(fact.members)
        freed = fact.disk_bytes if whole else min(fact.disk_bytes, sum(sizes[member] for member in rules))
        named = {member.track: rule for member, rule in rules.items()}
        return Removal(fact, next(iter(named.values())), freed, named, whole)

    def _rule_of_whole(self, fact: SegmentFact) -> str:
        older_us = self.need.older_us[-1]
        if older_us is not None and fact.end_us < older_us and self._pace_allows(fact.disk_bytes):
            self.aged += fact.disk_bytes
            return RULE_AGE
        if self.options.by_track and fact.end_us > self.need.now_us - self.options.greatest_min_us:
            return ""
        return self._short_of()

    def _short_of(self) -> str:
        """The rule of the storage that still asks for room."""
        if self.freed < self.need.over_bytes:
            return RULE_SIZE
        return RULE_SPACE if self.freed < self.need.low_bytes else ""

    def _pace_allows(self, size: int) -> bool:
        """A pace lets something go as long as its share is not used up."""
        return self.need.age_bytes is None or self.aged + size <= self.need.age_bytes

    def _due(self, fact: SegmentFact) -> bool:
        """Is a class in it too old?"""
        if not any(self.need.older_us):
            return False
        if not fact.due_us:
            limits = self.options.classes.limits_us
            ends = zip(fact.class_ends(self.options), limits, strict=True)
            fact.due_us = min((e + limit for e, limit in ends if e is not None and limit is not None), default=NEVER)
        return fact.due_us < self.need.now_us

    def _rules(self, fact: SegmentFact, short: str) -> dict[Member, str]:
        """Who goes from a segment, and why."""
        options, need = self.options, self.need
        aged_out = [
            end is not None and older is not None and end < older
            for end, older in zip(fact.class_ends(options), need.older_us, strict=True)
        ]
        rules: dict[Member, str] = {}
        for member, end_us, size in zip(fact.members, fact.ends, fact.sizes, strict=True):
            limits = options.cameras.get(member.camera)
            protected = limits is not None and end_us > need.now_us - limits.min_us
            if protected:
                continue
            if aged_out[options.classes.number(member.camera)] and self._pace_allows(size):
                rules[member] = RULE_AGE
            elif member.camera in self.over:
                rules[member] = RULE_CAMERA_SIZE
            elif short:
                rules[member] = short
        return rules
