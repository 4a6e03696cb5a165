"""Fixed-seed lives of a `World`: the same moves as the state machine, drawn by `random`, for negative controls and long
runs. `live(seed, moves)` raises `Red` when a promise is broken."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from world import S, World

CALLS = ("pwritev", "fdatasync", "create", "fsync_dir", "rename", "truncate", "unlink", "mkdirs", "pread", "open_read")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
CLOCK_STEPS_US = (-S, S, -3600 * S, 3600 * S, -40 * 86400 * S, 40 * 86400 * S)
FOREVER = ("pwritev", "fdatasync", "create", "fsync_dir")


def reopen(world: World) -> None:
    """After a cut or a stop: open, recover, and heal the disk when it did not let us."""
    for _ in range(3):
        if world.rig is not None:
            break
        if not world.open():
            world.fs.heal()
    world.recover()


def cut_in_a_while(world: World, rng: random.Random) -> None:
    world.fs.cut_in = rng.randrange(1, 40)


def fault(world: World, rng: random.Random) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        world.fault(rng.choice(CALLS), rng.randrange(1, 12), rng.choice(ERRORS))
    elif kind == 1:
        world.fail_always(rng.choice(FOREVER), rng.choice(ERRORS))
    elif kind == 2:
        world.fill(rng.randrange(0, 1 << 17))
    elif kind == 3:
        world.read_only()
    else:
        world.fs.short_writes = True


MOVES: list[tuple[int, Callable[[World, random.Random], object]]] = [
    (30, lambda world, rng: (world.film(rng.randrange(1, 3)), world.commit())),
    (6, lambda world, rng: world.film()),
    (6, lambda world, rng: world.commit()),
    (10, lambda world, rng: world.work()),
    (4, lambda world, rng: world.away(rng.randrange(2, 30))),
    (4, lambda world, rng: world.cut(rng.randrange(1 << 30))),
    (1, lambda world, rng: world.cut(None)),
    (2, lambda world, rng: world.close()),
    (3, cut_in_a_while),
    (5, lambda world, rng: world.reclaim(rng.choice((0.3, 0.6, 0.9)))),
    (3, lambda world, rng: world.forget_camera(rng.randrange(2), rng.randrange(60) * S, rewriting=rng.random() < 0.5)),
    (4, fault),
    (6, lambda world, rng: world.heal()),
    (2, lambda world, rng: world.step_clock(rng.choice(CLOCK_STEPS_US))),
]


def live(
    seed: int, moves: int, *, clock: bool = True, faults: bool = True, spoil: Callable[[World], None] | None = None
) -> World:
    """One life. `spoil` breaks a promise of the file system before it begins."""
    rng = random.Random(seed)
    world = World(seed=seed)
    if spoil is not None:
        spoil(world)
    world.recover()
    chosen = [m for m in MOVES if (clock or m is not MOVES[-1]) and (faults or m[1] is not fault)]
    weights = [weight for weight, _ in chosen]
    for _ in range(moves):
        if world.rig is None or (not world.recovered and rng.random() < 0.7):
            lies = world.fs.sync_lies, world.fs.dir_sync_lies
            if spoil is not None and not any(lies):
                spoil(world)
            reopen(world)
        rng.choices(chosen, weights)[0][1](world, rng)
        if rng.random() < 0.3:
            world.check()
        else:
            world.check_disk()
    finish(world)
    return world


def finish(world: World) -> None:
    """The end of a life: a well disk, a clean stop, one more start, and everything checked."""
    world.fs.cut_in = None
    if world.rig is not None:
        world.heal()
    world.close()
    world.fs.heal()
    reopen(world)
    world.check()
