"""What a state and its reason mean for people, and what to do about it.

Law: pure text; no state is worked out here. `recorderctl why`, `mediadb why`, the report and docs/coverage.md say these
words and no others (a test compares the page). Reasons that are not listed take the words of their state.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """`what` happened, and what to `do` about it ("" when there is nothing to do)."""

    what: str
    do: str = ""


NOTHING: Final = ""
LOOK_AT_DISK: Final = "look at `recorderctl storage`, the kernel's log and the cable or mount of the disk"
WORDS: Final[dict[tuple[str, str], Words]] = {
    ("recorded", ""): Words("footage is there"),
    ("recorded", "not-yet-durable"): Words("received, and on its way to the disk"),
    ("retrieved", ""): Words("live footage is missing; footage that came later fills in"),
    ("not-scheduled", ""): Words("nobody asked for footage"),
    ("not-scheduled", "record-never"): Words("recording is switched off", 'set record = "always" for this camera'),
    ("not-scheduled", "not-configured"): Words("the recorder did not know this camera then"),
    ("not-scheduled", "future"): Words("this has not happened yet"),
    ("camera-offline", ""): Words("the camera gave no stream", "look at the camera, its power and its cable"),
    ("camera-offline", "connecting"): Words("the connection was being made", "wait; then look at the camera's state"),
    ("camera-offline", "refused"): Words(
        "the camera's address refused the connection", "is the port right, and does the camera's server run?"
    ),
    ("camera-offline", "timeout"): Words("the camera did not answer in time", "look at the network and the address"),
    ("camera-offline", "unreachable"): Words("there was no way to the camera", "look at the network and the address"),
    ("camera-offline", "closed"): Words("the camera closed the connection", "it may have restarted: see its log"),
    ("camera-offline", "stall"): Words("connected, but no picture came", "restart the camera; look at its load"),
    ("camera-offline", "no-packets"): Words("connected, but nothing came", "look for a firewall, or set transport"),
    ("camera-offline", "no-media"): Words("connected, but this track was silent", "look at the camera's settings"),
    ("camera-offline", "no-frames"): Words("the camera paused and made no pictures"),
    ("camera-offline", "no-documents"): Words("the camera's analytics told nothing"),
    ("camera-offline", "not-announced"): Words("the camera does not offer this track now", "look at its settings"),
    ("camera-offline", "discontinuity"): Words("the camera began its stream anew"),
    ("camera-offline", "unusable-config"): Words("the coding cannot be stored", "choose H.264 or H.265 in the camera"),
    ("camera-offline", "auth-failed"): Words(
        "the camera refused user name or password", "correct them and run `recorderctl reload`"
    ),
    ("camera-offline", "busy"): Words("the camera has no connection left", "close other viewers of the camera"),
    ("camera-offline", "not-found"): Words("the camera has no such stream", "correct the path"),
    ("camera-offline", "status"): Words("the camera refused the request", "see the event for its answer"),
    ("camera-offline", "transport"): Words("the camera does not know this transport", "set transport"),
    ("camera-offline", "tunnel"): Words("no RTSP over HTTP at that port", "correct the port, or set transport"),
    ("camera-offline", "protocol"): Words("the camera's answer could not be read", "update its firmware"),
    ("camera-offline", "reconfigured"): Words("the camera's settings were being changed here"),
    ("network-loss", ""): Words("packets were lost, and whole frames with them", "look at cable, switch and Wi-Fi"),
    ("overload-shed", ""): Words("the recorder let whole groups of pictures go", "fewer cameras, or a faster disk"),
    ("overload-shed", "memory-budget"): Words(
        "the disk was slower than the cameras and memory was full", "a faster disk, or more `memory`"
    ),
    ("overload-shed", "receive-buffer"): Words(
        "packets reached this machine and were not read in time", "fewer cameras per machine, or rmem_max higher"
    ),
    ("storage-error", ""): Words("the storage did not take it, or lost it", LOOK_AT_DISK),
    ("storage-error", "not-writable"): Words("the disk took no writes", LOOK_AT_DISK),
    ("storage-error", "io-error"): Words("the disk gave errors", LOOK_AT_DISK),
    ("storage-error", "writer-error"): Words("the recorder failed to write it: a defect", "see the events; report it"),
    ("storage-error", "read-only"): Words("the file system was read-only", "see the kernel's log; mount it again"),
    ("storage-error", "no-space"): Words("the disk was full", "remove what is not footage, or keep less"),
    ("storage-error", "quota"): Words(
        "a quota or `max_size` was used up, and nothing of it may go", "raise it, or lower the `min` of cameras"
    ),
    ("storage-error", "storage-full"): Words("the disk was full", "remove what is not footage, or keep less"),
    ("storage-error", "storage-stalled"): Words("the disk did not answer", LOOK_AT_DISK),
    ("storage-error", "storage-missing"): Words(
        "the storage is or was not there, or was refused; footage from before may be on it",
        "`recorderctl storage` says why; mounted and in order, it is opened without a restart",
    ),
    ("storage-error", "storage-foreign"): Words(
        "another disk is mounted there, or its footage is another server's",
        "mount the right disk; a server that is gone is taken over with `[server] id`",
    ),
    ("storage-error", "storage-older"): Words(
        "an old copy of the disk is mounted", "mount the right one, or use it: recorderctl storage --accept"
    ),
    ("storage-error", "storage-locked"): Words("another process writes to it", "stop that one"),
    ("storage-error", "storage-doubly-owned"): Words("another server writes to it", "give each server its own"),
    ("storage-error", "storage-damaged"): Words("its first files cannot be read", "run `mediadb fsck`"),
    ("storage-error", "storage-unusable"): Words("it could not be opened", LOOK_AT_DISK),
    ("storage-error", "ledger-lost"): Words(
        "what the recorder said of this time was cut off by other hands", "find out who changes files of the volume"
    ),
    ("storage-error", "segment-missing"): Words(
        "a file of footage was removed by other hands", "bring it back from a copy; find out who removes files"
    ),
    ("storage-error", "segment-damaged"): Words(
        "a file of footage is cut or cannot be read", "run `mediadb verify` and `mediadb fsck`; bring it from a copy"
    ),
    ("storage-error", "chunk-damaged"): Words(
        "stored bytes do not verify and are not shown",
        "run `mediadb verify`; bring the file from a copy; test the disk",
    ),
    ("storage-error", "key-missing"): Words("footage is there, but the picture it begins with is gone"),
    ("clock-step", ""): Words("a clock was set", "let camera and recorder keep time by NTP"),
    ("clock-step", "recorder"): Words("the recorder's clock was set", "keep it by NTP, slewing"),
    ("clock-step", "camera"): Words("the camera's clock was set", "keep it by NTP"),
    ("server-down", ""): Words("no recorder was running"),
    ("server-down", "stop"): Words("the recorder was stopped on purpose"),
    ("server-down", "crash"): Words(
        "the recorder ended without a word: killed, power lost, or a fault", "see the system's journal at that time"
    ),
    ("server-down", "starting"): Words("the recorder was starting"),
    ("groomed", ""): Words("thinned out on purpose by a rule"),
    ("deleted", ""): Words("removed on purpose by a rule"),
    ("deleted", "age"): Words("older than what is to be kept", "a longer `retention` keeps more"),
    ("deleted", "size"): Words("removed so that the storage keeps its size", "a larger `max_size` keeps more"),
    ("deleted", "camera-size"): Words(
        "removed so that the camera keeps its size", "a larger `max_size` of the camera keeps more"
    ),
    ("deleted", "space"): Words("removed because the disk was full", "a larger disk, or fewer other files on it"),
    ("on-remote", ""): Words("the footage is on another recorder"),
    ("requested", ""): Words("the footage was asked for and is not here yet"),
    ("unexplained", ""): Words(
        "neither footage nor a statement: a defect of the recorder, or foreign hands",
        "please report it with the ledger",
    ),
}


def explain(state: str, reason: str) -> Words:
    """Words for a state and its reason."""
    return WORDS.get((state, reason)) or WORDS.get((state, ""), Words(state))


def sentence(state: str, reason: str) -> str:
    """ "what - do" on one line."""
    words = explain(state, reason)
    return f"{words.what} - {words.do}" if words.do else words.what
