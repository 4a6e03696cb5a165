"""From a described session to flowing media, over the transport that is asked for.

Law: one attempt with one transport; which one comes next is the driver's choice. Raises DriverError only, and then
everything it opened is closed. Called by `rtsp_stream`.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.core.errors import RecorderdError
from recorderd.driverapi.base import Host
from recorderd.driverapi.errors import DeviceUnsupported
from recorderd.driverkit.rtsp_errors import driver_error
from recorderd.driverkit.rtsp_handshake import REQUEST_S, OpenSession, refused_elsewhere
from recorderd.driverkit.rtsp_paths import InterleavedPath, MediaPath
from recorderd.driverkit.rtsp_udp import UdpPath
from recorderd.wire.media_plan import PlannedMedium, encodings, plan_media
from recorderd.wire.rtsp_client import State
from recorderd.wire.rtsp_message import RtspResponse
from recorderd.wire.rtsp_reply import Lower
from recorderd.wire.track import Track, TrackListener


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to receive of a stream, and how. `interface`: for multicast, "" to find it."""

    audio: bool = True
    lower: Lower = Lower.TCP
    interface: str = ""
    metadata: bool = True


@dataclass(slots=True)
class Playing:
    """A session in state PLAYING, with its media."""

    opened: OpenSession
    tracks: list[Track]
    path: MediaPath


async def play(opened: OpenSession, wanted: Wanted, listener: TrackListener, host: Host) -> Playing:
    """Set up and play what can be read of a described session. Closes the connection when it fails."""
    description = opened.session.description
    assert description is not None
    chosen = plan_media(description, wanted.audio, wanted.metadata)
    if not chosen:
        opened.connection.close()
        offered = ", ".join(encodings(description)) or "nothing"
        raise DeviceUnsupported(f"the camera offers no codec that can be recorded (offers {offered})", "codec")
    path: MediaPath
    if wanted.lower is Lower.TCP:
        path = InterleavedPath(opened.connection)
    else:
        path = UdpPath(opened.connection, host, description, wanted.interface, listener.event)
    playing = Playing(opened, [Track(one.plan, host.clock, listener) for one in chosen], path)
    try:
        await _play(playing, chosen, wanted.lower)
    except (RecorderdError, OSError) as error:
        path.close()
        await opened.close()  # a session half set up holds one of the camera's few places
        raise refused_elsewhere(opened, error) or driver_error(error, opened.session.facts.timeout_s) from error
    except BaseException:
        path.close()
        opened.connection.close()
        raise
    return playing


async def _play(playing: Playing, chosen: list[PlannedMedium], lower: Lower) -> None:
    session, path = playing.opened.session, playing.path
    ports = None
    if isinstance(path, UdpPath) and lower is Lower.UDP:
        ports = [path.open_unicast() for _ in chosen]
    session.setup([one.media for one in chosen], lower, ports)
    ready = False
    while not session.playing:
        if session.state is State.PLAY and not ready:
            path.before_play(playing.tracks, session.tracks)
            ready = True
        await playing.opened.connection.exchange(
            session.next_request(), REQUEST_S, lambda response: _take(playing, response)
        )


def _take(playing: Playing, response: RtspResponse) -> None:
    """An answer to SETUP or PLAY: from here on media may come."""
    session = playing.opened.session
    session.receive(response)
    for index, (track, planned) in enumerate(zip(playing.tracks, session.tracks, strict=True)):
        if planned.done:
            playing.path.assign(index, track, planned)
        if session.playing:
            rtptime, start_us = session.rtp_info(planned), session.facts.play.start_utc_us
            if rtptime is not None and start_us is not None:
                track.play_range(rtptime, start_us)
