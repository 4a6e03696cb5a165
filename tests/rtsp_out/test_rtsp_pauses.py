"""Viewers that pause or change their mind at awkward moments."""

from __future__ import annotations

import pytest
from rtsp_peer import Peer
from rtsp_scene import RtspScene, until

from tests.server.server_scene import T0, S, record

TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


async def test_footage_that_is_still_recorded_ends_with_goodbye_for_a_plain_player(out: RtspScene) -> None:
    await record(out.store, "gate", shift_us=out.clock.utc_us() - T0 - 12 * S)
    peer = await Peer.connect(out.port, "/recorded/gate")
    await peer.setup()
    assert (await peer.ask("PLAY", Range="npt=0-", Scale="16")).status == 200
    await peer.read_to_bye()
    await peer.close()


async def test_a_track_that_is_set_up_in_a_pause_plays_as_well(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate")
    controls = await peer.describe()
    assert (await peer.ask("SETUP", controls[0], Transport=TCP)).status == 200
    assert (await peer.ask("PLAY", Range="npt=0-")).status == 200
    await peer.read_units(2)
    await peer.ask("PAUSE")
    assert (await peer.ask("SETUP", controls[1], Transport="RTP/AVP/TCP;interleaved=2-3")).status == 200
    assert (await peer.ask("PLAY")).status == 200
    await peer.read_units(2, 2)
    await peer.close()


async def test_a_session_torn_down_in_a_pause_is_forgotten(out: RtspScene) -> None:
    await record(out.store, "gate")
    peer = await Peer.connect(out.port, "/recorded/gate")
    await peer.setup()
    assert (await peer.ask("PLAY", Range="npt=5-")).status == 200
    await peer.read_units(2)
    await peer.ask("PAUSE")
    assert (await peer.ask("TEARDOWN")).status == 200
    await until(lambda: out.tasks() == 0)
    peer.session = ""
    await peer.setup()
    reply = await peer.ask("PLAY")
    assert reply.headers["range"].startswith("clock=20260921T141320.000000Z")
    await peer.close()


@pytest.mark.parametrize("path", ["/recorded/gate", "/live/gate"])
async def test_a_failure_in_mid_play_ends_the_connection(
    out: RtspScene, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Better than a viewer that waits for ever."""
    await record(out.store, "gate")
    out.hold_gop()
    peer = await Peer.connect(out.port, path)
    await peer.setup()

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("recorderd.server.rtsp.sender.TrackSender.unit", broken)
    assert (await peer.ask("PLAY")).status == 200
    await peer.read_to_end()
    await until(lambda: out.failures)
    out.failures.clear()
    await peer.close()
