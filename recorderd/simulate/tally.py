"""What the farm says it sent: one record per connection, one line of JSON each.

Law: the numbers a recording is judged by. Plain counting; the only file it writes is the log it is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TextIO


@dataclass(slots=True)
class Tally:
    """One PLAY. `sent` counts pictures put on the wire, those with lost packets included; `lost_frames` are the numbers
    of the pictures that the loss fault took packets of; `skipped` are inclusive ranges of numbers between first and
    last that were not sent (stall, own drops); audio is counted by RTP sequence (not wrapped)."""

    first: int | None = None
    last: int | None = None
    sent: int = 0
    dropped: int = 0
    lost_packets: int = 0
    lost_frames: list[int] = field(default_factory=list)
    skipped: list[list[int]] = field(default_factory=list)
    audio_first_seq: int | None = None
    audio_last_seq: int | None = None
    audio_sent: int = 0
    metadata_sent: int = 0
    receiver_reports: int = 0

    def count(self, number: int) -> None:
        if self.last is None:
            self.first = number
        elif number != self.last + 1:
            self.skipped.append([self.last + 1, number - 1])
        self.last = number
        self.sent += 1

    def count_audio(self, sequence: int) -> None:
        if self.audio_first_seq is None:
            self.audio_first_seq = sequence
        self.audio_last_seq = sequence
        self.audio_sent += 1

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def write_record(log: TextIO | None, record: dict[str, object]) -> None:
    """One line, flushed: a farm that is killed has logged every connection that ended before."""
    if log is not None:
        log.write(json.dumps(record) + "\n")
        log.flush()
