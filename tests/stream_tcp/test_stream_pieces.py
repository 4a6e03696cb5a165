"""Small parts of sending: order on a socket that takes little, heads that would be too long."""

from __future__ import annotations

from typing import Any

from mediadb.types import Cause, Interval, State
from recorderd.server.stream_tcp.heads import hole_head
from recorderd.services.playback.types import Hole
from recorderd.wire.stream.codec import frame, pack
from recorderd.wire.stream.messages import Type
from tests.server.server_scene import units, video_clip
from tests.stream_tcp.raw_peer import CONFIG, LIVE, OK, UNIT, becomes
from tests.stream_tcp.stream_scene import StreamScene


async def test_a_unit_never_overtakes_a_config_that_went_out_in_part(scene: StreamScene) -> None:
    """The kernel takes a few bytes of a message, and has room again for the next one."""
    source, peer = scene.source(), await scene.peer()
    source.gop = units(video_clip(), 0, 2)
    (connection,) = scene.server._shared.connections  # type: ignore[union-attr]
    real, calls = connection.outlet._sendmsg, 0

    def sendmsg(pieces: Any) -> int:
        nonlocal calls
        calls += 1
        return real([b"".join(pieces)[:5]] if calls == 2 else pieces)

    connection.outlet._sendmsg = sendmsg  # type: ignore[method-assign, assignment]
    peer.send(LIVE, 1, camera="gate")
    assert [(await peer.next()).type for _ in range(4)] == [OK, CONFIG, UNIT, UNIT]


async def test_what_a_stopped_viewer_had_not_taken_is_no_burden_to_the_next(scene: StreamScene) -> None:
    source, peer = scene.source(), await scene.peer()
    source.gop = units(video_clip(), 0, 10)
    peer.send(LIVE, 1, camera="gate", credit=0)
    await peer.expect(OK)
    (connection,) = scene.server._shared.connections  # type: ignore[union-attr]
    await becomes(lambda: connection.session.live_budget.used_bytes > 0)
    peer.send(0x0A, 1, id=2)
    await peer.expect(OK)
    assert connection.session.live_budget.used_bytes == 0


def test_many_long_causes_still_make_a_hole() -> None:
    cause = Cause(State.STORAGE_ERROR, "chunk-damaged", {"error": "x" * 900})
    hole = Hole(0, 1000, tuple(Interval(n, n + 1, cause) for n in range(1000)))
    head = hole_head(hole)
    assert frame(Type.HOLE, 1, pack(head))
    assert len(head["causes"]) >= 20
    assert head["end_us"] == 1000
