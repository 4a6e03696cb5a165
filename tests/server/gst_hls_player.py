"""Runs under the system's Python: plays a URL with GStreamer and prints how many pictures and sounds came out."""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

Gst.init(None)
pipeline = Gst.Pipeline.new()
source = Gst.ElementFactory.make("uridecodebin")
source.set_property("uri", sys.argv[1])
pipeline.add(source)
counts: dict = {"video": 0, "audio": 0}
failed: list = []
loop = GLib.MainLoop()


def on_pad(_, pad):
    kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
    sink = Gst.ElementFactory.make("fakesink")
    for name, value in (("signal-handoffs", True), ("sync", False), ("async", False)):
        sink.set_property(name, value)

    def count(*_):
        counts[kind] += 1

    sink.connect("handoff", count)
    pipeline.add(sink)
    sink.sync_state_with_parent()
    pad.link(sink.get_static_pad("sink"))


def on_message(_, message):
    if message.type == Gst.MessageType.EOS:
        loop.quit()
    elif message.type == Gst.MessageType.ERROR:
        failed.append(str(message.parse_error()))
        loop.quit()


source.connect("pad-added", on_pad)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message", on_message)
pipeline.set_state(Gst.State.PLAYING)
GLib.timeout_add_seconds(60, lambda: (failed.append("no end within 60 s"), loop.quit()))
loop.run()
pipeline.set_state(Gst.State.NULL)
print(counts["video"], counts["audio"])
sys.exit("; ".join(failed) if failed else 0)
