"""A camera made of GStreamer's RTSP server; runs under the system Python, never imported by tests.

Usage: /usr/bin/python3 gst_server.py '{"mounts": {"/a": {"file": "a.mp4", "video": "h264", "audio": "aac"}},
"login": ["user", "password"], "tls": "both.pem"}'. First line on stdout: {"port": N}. Ends when stdin closes. `login`
is optional (digest); `video` is h264, h265 or jpeg, `audio` aac, latm, opus, l16, pcmu or absent; `g726`: a file of raw
G.726 at 32 kbit/s, first sample in the highest bits, sent as sound in RFC 3551's order; `loop` is not offered: a clip
plays once. `transport` of a mount is tcp (also inside HTTP), udp or multicast (on the loopback interface, or on
`interface`); `tls`: a file with certificate and key, then the server speaks nothing but TLS; `listen`: its address.
"""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

VIDEO = {
    "h264": "h264parse ! rtph264pay config-interval=-1 name=pay{n} pt=96",
    "h265": "h265parse ! rtph265pay config-interval=-1 name=pay{n} pt=96",
    "jpeg": "rtpjpegpay name=pay{n} pt=26",
}
AUDIO = {
    "aac": "aacparse ! rtpmp4gpay name=pay{n} pt=97",
    "latm": "aacparse ! rtpmp4apay name=pay{n} pt=98",
    "opus": "opusparse ! rtpopuspay name=pay{n} pt=99",
    "l16": "audioconvert ! rtpL16pay name=pay{n} pt=100",
    "pcmu": "rtppcmupay name=pay{n} pt=0",
}
G726 = (
    "filesrc location={file} blocksize=80 ! identity datarate=4000 single-segment=true "
    "! capsfilter caps=audio/x-adpcm,layout=g726,channels=1,rate=8000,bitrate=32000 "
    "! rtpg726pay force-aal2=false name=pay{n} pt=101"
)
PROTOCOLS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "multicast": GstRtsp.RTSPLowerTrans.UDP_MCAST,
}


def launch(mount):
    parts = ["filesrc location={} ! qtdemux name=demux".format(json.dumps(mount["file"]))]
    number = 0
    for pad, table, codec in (("video_0", VIDEO, mount.get("video")), ("audio_0", AUDIO, mount.get("audio"))):
        if codec:
            parts.append(f"demux.{pad} ! queue ! {table[codec].format(n=number)}")
            number += 1
    if mount.get("g726"):
        parts.append(G726.format(file=json.dumps(mount["g726"]), n=number))
    return "( {} )".format(" ".join(parts))


def groups():
    pool = GstRtspServer.RTSPAddressPool()
    pool.add_range("239.192.77.1", "239.192.77.9", 40000, 41999, 1)
    return pool


def require_login(auth, user, password):
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    permissions = GstRtspServer.RTSPPermissions()
    for name in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", name, True)
    return permissions


def stop_when_orphaned(loop):
    def readable(channel, condition):
        if not sys.stdin.buffer.read1(4096):
            loop.quit()
            return False
        return True

    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, readable)


def main():
    Gst.init(None)
    wanted = json.loads(sys.argv[1])
    server = GstRtspServer.RTSPServer()
    server.set_address(wanted.get("listen") or "127.0.0.1")
    server.set_service("0")
    auth = GstRtspServer.RTSPAuth()
    if wanted.get("tls"):
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(wanted["tls"]))
    permissions = require_login(auth, *wanted["login"]) if wanted.get("login") else None
    if wanted.get("tls") or permissions is not None:
        server.set_auth(auth)
    mounts = server.get_mount_points()
    for path, mount in wanted["mounts"].items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch(mount))
        factory.set_protocols(PROTOCOLS[mount.get("transport", "tcp")])
        if mount.get("transport") == "multicast":
            factory.set_address_pool(groups())
            factory.set_multicast_iface(wanted.get("interface") or "lo")
            factory.set_max_mcast_ttl(4)
        if permissions is not None:
            factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    server.attach(None)
    loop = GLib.MainLoop()
    stop_when_orphaned(loop)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
