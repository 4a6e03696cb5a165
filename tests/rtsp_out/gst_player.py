"""Plays an RTSP address with GStreamer's rtspsrc; run under the system's Python, which has its bindings.

One argument, JSON: {"url", "protocols": "tcp" | "udp", "count": stop after so many pictures or 0, "onvif": replay mode
with full speed, "range": [start, stop] in nanoseconds since 1900 and "rate": for a seek before playing}. Prints one
JSON document: {"pts": [...], "error": text or null, "data": base64 of the H.264 byte stream}.
"""

from __future__ import annotations

import base64
import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

PATIENCE_NS = 25 * 1_000_000_000


def main() -> None:
    wanted = json.loads(sys.argv[1])
    Gst.init(None)
    onvif = wanted.get("onvif", False)
    source = f'rtspsrc name=src location="{wanted["url"]}" protocols={wanted["protocols"]}'
    if onvif:
        source += " onvif-mode=true onvif-rate-control=false"
    parse = "rtponvifparse name=first ! rtph264depay" if onvif else "rtph264depay name=first"
    pipeline = Gst.parse_launch(
        f"{source} {parse} ! video/x-h264,stream-format=byte-stream,alignment=au ! "
        "appsink name=sink sync=false max-buffers=0"
    )
    first = pipeline.get_by_name("first")

    def added(_, pad) -> None:
        if pad.get_current_caps().get_structure(0).get_string("media") == "video":
            pad.link(first.get_static_pad("sink"))

    pipeline.get_by_name("src").connect("pad-added", added)
    sink, bus = pipeline.get_by_name("sink"), pipeline.get_bus()
    error, pts, data = None, [], b""
    pipeline.set_state(Gst.State.PLAYING)
    if "range" in wanted:
        sink.emit("try-pull-sample", PATIENCE_NS)  # it plays: now it can be told where to go
        start, stop = wanted["range"]
        kinds = Gst.SeekType.SET
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE
        if not pipeline.send_event(
            Gst.Event.new_seek(wanted["rate"], Gst.Format.TIME, flags, kinds, start, kinds, stop)
        ):
            error = "the seek was refused"
    while error is None:
        sample = sink.emit("try-pull-sample", 200_000_000)
        if sample is not None:
            buffer = sample.get_buffer()
            pts.append(buffer.pts)
            data += buffer.extract_dup(0, buffer.get_size())
        elif sink.get_property("eos"):
            break
        message = bus.pop_filtered(Gst.MessageType.ERROR)
        if message is not None:
            error = " ".join(str(part) for part in message.parse_error())
        if wanted["count"] and len(pts) >= wanted["count"]:
            break
    pipeline.set_state(Gst.State.NULL)
    print(json.dumps({"pts": pts, "error": error, "data": base64.b64encode(data).decode()}))


main()
