#!/usr/bin/python3
"""An RTSP server by GStreamer for tests: a file (`/file`), a live test picture (`/live`, `/vp8`), TLS if asked for.

Runs under the system's Python, which has the GStreamer bindings; prints `ready PORT` and serves until killed.
Debian packages: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{good,bad,ugly} gstreamer1.0-rtsp glib-networking
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROLE = "viewer"
VP8 = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 "
    "! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=25 threads=1 ! rtpvp8pay name=pay0 pt=96 )"
)
LIVE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=300 threads=1 "
    "! rtph264pay name=pay0 pt=96 config-interval={config_interval} )"
)
DEMUXERS = {".mp4": "qtdemux ! ", ".mkv": "matroskademux ! ", ".264": "", ".265": ""}
RAW_FRAME_NS = Gst.SECOND // 25


class LoopedFile:
    """Sends the access units of a file, again and again or once, without re-encoding.

    Raw streams run at 25 pictures a second and must not contain B pictures.
    """

    def __init__(self, path: Path, *, codec: str, loop: bool) -> None:
        self.codec, self.loop = codec, loop
        self.units = list(self._split(path))
        self.length_ns = max(pts for _, pts, _ in self.units) + RAW_FRAME_NS

    @property
    def launch(self) -> str:
        return (
            f"( appsrc name=source is-live=true format=time block=true caps=video/x-{self.codec},"
            f"stream-format=byte-stream,alignment=au ! {self.codec}parse "
            f"! rtp{self.codec}pay name=pay0 pt=96 config-interval=-1 )"
        )

    def configure(self, _factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
        order = itertools.count() if self.loop else iter(range(len(self.units)))
        source = media.get_element().get_by_name("source")
        source.connect("need-data", lambda source, _length: self._push(source, next(order, None)))

    def _push(self, source: Gst.Element, number: int | None) -> None:
        if number is None:
            source.emit("end-of-stream")
            return
        turn, index = divmod(number, len(self.units))
        data, pts, dts = self.units[index]
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.dts = pts + turn * self.length_ns, dts + turn * self.length_ns
        source.emit("push-buffer", buffer)

    def _split(self, path: Path) -> Iterator[tuple[bytes, int, int]]:
        pipeline = Gst.parse_launch(
            f"filesrc location={path} ! {DEMUXERS[path.suffix]}{self.codec}parse "
            f"! video/x-{self.codec},stream-format=byte-stream,alignment=au ! appsink name=sink sync=false"
        )
        pipeline.set_state(Gst.State.PLAYING)
        sink = pipeline.get_by_name("sink")
        for index in itertools.count():
            sample = sink.emit("pull-sample")
            if sample is None:
                break
            buffer, counted = sample.get_buffer(), index * RAW_FRAME_NS
            data = buffer.extract_dup(0, buffer.get_size())
            timed = DEMUXERS[path.suffix] != ""
            yield data, buffer.pts if timed else counted, buffer.dts if timed else counted
        pipeline.set_state(Gst.State.NULL)


def make_auth(method: str, user: str, password: str) -> GstRtspServer.RTSPAuth:
    """Only `user` may look; everybody else is asked for a password."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    if method == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    return auth


def make_open() -> GstRtspServer.RTSPAuth:
    """Everybody may look."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth.set_default_token(token)
    return auth


def add_tls(auth: GstRtspServer.RTSPAuth, certificate: str, key: str) -> None:
    """Only those who speak TLS are heard."""
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(certificate, key))


def make_factory(launch: str, *, protected: bool) -> GstRtspServer.RTSPMediaFactory:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch)
    factory.set_shared(True)
    if protected:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role(ROLE, "media.factory.access", True)
        permissions.add_permission_for_role(ROLE, "media.factory.construct", True)
        factory.set_permissions(permissions)
    return factory


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", default="0")
    arguments.add_argument("--file", type=Path)
    arguments.add_argument("--codec", choices=("h264", "h265"), default="h264", help="of the file")
    arguments.add_argument("--loop", action="store_true")
    arguments.add_argument("--auth", choices=("none", "basic", "digest"), default="none")
    arguments.add_argument("--user", default="")
    arguments.add_argument("--password", default="")
    arguments.add_argument("--sdp-parameters-only", action="store_true", help="/live: no SPS and PPS in band")
    arguments.add_argument("--certificate", default="", help="PEM file: speak TLS")
    arguments.add_argument("--key", default="", help="PEM file of its private key")
    options = arguments.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    protected = options.auth != "none"
    if protected or options.certificate:
        auth = make_auth(options.auth, options.user, options.password) if protected else make_open()
        if options.certificate:
            add_tls(auth, options.certificate, options.key)
        server.set_auth(auth)
    protected |= bool(options.certificate)
    live = LIVE.format(config_interval=0 if options.sdp_parameters_only else -1)
    mounts = server.get_mount_points()
    mounts.add_factory("/live", make_factory(live, protected=protected))
    mounts.add_factory("/vp8", make_factory(VP8, protected=protected))
    if options.file:
        looped = LoopedFile(options.file, codec=options.codec, loop=options.loop)
        factory = make_factory(looped.launch, protected=protected)
        factory.connect("media-configure", looped.configure)
        mounts.add_factory("/file", factory)
    server.attach(None)
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
