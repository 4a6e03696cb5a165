"""Giving cameras their old identities back when the state database is new but the footage is not.

Law: pure. CONFIG chunks carry the identities of hardware and camera and their names at that time; a configured
camera whose names match exactly one recorded camera is that camera. Anything doubtful is left to get a new identity.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mediadb.types import Names, TrackSpec
from recorderd.config.schema import Config


class RecordedTrack(Protocol):
    """The part of a reader's TrackInfo that is needed."""

    @property
    def spec(self) -> TrackSpec: ...

    @property
    def names(self) -> Names: ...


@dataclass(frozen=True, slots=True)
class Binding:
    """What to tell the identities: this hardware is there, these cameras on its channels."""

    driver: str
    address: str
    hardware: uuid.UUID
    cameras: tuple[tuple[int, uuid.UUID], ...]


def bindings(config: Config, tracks: Iterable[RecordedTrack]) -> list[Binding]:
    """One binding per configured hardware that was recorded before under the same names."""
    seen: dict[tuple[str, str], set[tuple[uuid.UUID, uuid.UUID]]] = {}
    for track in tracks:
        names = (track.names.hardware, track.names.camera)
        seen.setdefault(names, set()).add((track.spec.hardware, track.spec.camera))
    found = []
    for device in config.hardware:
        matches = {camera.channel: seen.get((device.name, camera.name), set()) for camera in device.cameras}
        sure = {channel: next(iter(ids)) for channel, ids in matches.items() if len(ids) == 1}
        owners = {hardware for hardware, _ in sure.values()}
        if len(owners) == 1:
            cameras = tuple((channel, camera) for channel, (_, camera) in sorted(sure.items()))
            found.append(Binding(device.driver, device.address, owners.pop(), cameras))
    return found
