"""Who is who: the server's own UUID, known volumes, and the identities of hardware and cameras.

Law: an identity is given once and kept for ever. A given `id` wins; else it is bound to (driver, address) and
(hardware, channel), so that a rename keeps the footage. What was bound stays bound until a given id takes its place: a
device that comes back is itself.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from mediadb.known_tail import KnownTail
from recorderd.core.clock import Clock
from recorderd.core.ids import new_uuid
from recorderd.state.database import StateDb
from recorderd.state.peek import Known
from recorderd.state.tables import cameras, hardware, servers, storages


@dataclass(frozen=True, slots=True)
class KnownVolume:
    """The volume that a storage name was last opened on, where, at which epoch of our log there and what it held
    then: an older epoch found later, or less of the same one, is a restored copy. `epoch` 0: any will do."""

    name: str
    volume: uuid.UUID
    path: str
    epoch: int
    tail: KnownTail | None = None


class Identities:
    """The repository of identities."""

    def __init__(self, db: StateDb, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def server(self, given: uuid.UUID | None = None, lost: uuid.UUID | None = None) -> uuid.UUID:
        """This server's own UUID. `given` in the configuration wins; else the one made at the first start; else
        `lost`, what was salvaged from a damaged database; else a new one.

        A database may be new because the old one was lost: then the footage belongs to another server until its id is
        given, and what was bound in between has recorded nothing. It is forgotten, so that footage can be asked."""
        async with self._db.engine.begin() as connection:
            found = (await connection.execute(sa.select(servers.c.id))).scalar()
            if found is not None and given in (None, uuid.UUID(found)):
                return uuid.UUID(found)
            identity = given or lost or new_uuid()
            if found is not None and (await connection.execute(sa.select(storages.c.name).limit(1))).scalar() is None:
                await connection.execute(sa.delete(cameras))
                await connection.execute(sa.delete(hardware))
            await connection.execute(sa.delete(servers))
            await connection.execute(sa.insert(servers), [{"id": str(identity), "created_us": self._clock.utc_us()}])
            return identity

    async def hardware(self, driver: str, address: str, given: uuid.UUID | None = None) -> uuid.UUID:
        """The hardware at that address. A `given` id is bound to it from now on."""
        same = sa.and_(hardware.c.driver == driver, hardware.c.address == address)
        async with self._db.engine.begin() as connection:
            if given is not None:
                row = {"id": str(given), "driver": driver, "address": address, "created_us": self._clock.utc_us()}
                await connection.execute(sa.delete(hardware).where(same, hardware.c.id != str(given)))
                moved = insert(hardware).values(row)
                await connection.execute(
                    moved.on_conflict_do_update(["id"], set_={"driver": driver, "address": address})
                )
                return given
            found = (await connection.execute(sa.select(hardware.c.id).where(same))).scalar()
            if found is not None:
                return uuid.UUID(found)
            made = new_uuid()
            row = {"id": str(made), "driver": driver, "address": address, "created_us": self._clock.utc_us()}
            await connection.execute(sa.insert(hardware), [row])
            return made

    async def camera(self, hardware_id: uuid.UUID, channel: int, given: uuid.UUID | None = None) -> uuid.UUID:
        """The camera on that channel of that hardware. A `given` id is bound to it from now on."""
        same = sa.and_(cameras.c.hardware_id == str(hardware_id), cameras.c.channel == channel)
        async with self._db.engine.begin() as connection:
            if given is None:
                found = (await connection.execute(sa.select(cameras.c.id).where(same))).scalar()
                if found is not None:
                    return uuid.UUID(found)
            identity = given or new_uuid()
            await connection.execute(sa.delete(cameras).where(same))
            place = {"hardware_id": str(hardware_id), "channel": channel}
            row = {"id": str(identity), "created_us": self._clock.utc_us(), **place}
            bound = insert(cameras).values(row)
            await connection.execute(bound.on_conflict_do_update(["id"], set_=place))
            return identity

    async def knows_hardware(self) -> bool:
        """False in a new (or replaced) database."""
        async with self._db.engine.connect() as connection:
            return (await connection.execute(sa.select(hardware.c.id).limit(1))).scalar() is not None

    async def volumes(self) -> dict[str, KnownVolume]:
        """Known volumes by storage name."""
        async with self._db.engine.connect() as connection:
            rows = await connection.execute(sa.select(storages))
            return {row.name: _known(row) for row in rows}

    async def remember_volume(self, known: KnownVolume) -> None:
        """From now on this storage name belongs to that volume."""
        tail = known.tail or (None, None, None)
        place: dict[str, object] = {"volume": str(known.volume), "path": known.path, "epoch": known.epoch}
        place |= dict(zip(("segment", "segment_bytes", "ledger_pages"), tail, strict=True))
        row = insert(storages).values({"name": known.name, "first_seen_us": self._clock.utc_us(), **place})
        async with self._db.engine.begin() as connection:
            await connection.execute(row.on_conflict_do_update(["name"], set_=place))

    async def adopt(self, lost: Known) -> None:
        """Bind what was salvaged from a damaged database again."""
        for id_, driver, address in lost.hardware:
            await self.hardware(driver, address, id_)
        for id_, hardware_id, channel in lost.cameras:
            await self.camera(hardware_id, channel, id_)


def _known(row: sa.Row[Any]) -> KnownVolume:
    tail = None if row.segment is None else KnownTail(row.segment, row.segment_bytes, row.ledger_pages)
    return KnownVolume(row.name, uuid.UUID(row.volume), row.path, row.epoch, tail)
