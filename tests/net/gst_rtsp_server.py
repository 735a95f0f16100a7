#!/usr/bin/python3
"""An RTSP server by GStreamer for tests: a file (`/file`) and a live test picture (`/live`).

Runs under the system's Python, which has the GStreamer bindings; prints `ready PORT` and serves until killed.
Debian packages: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{good,bad,ugly} gstreamer1.0-rtsp
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROLE = "viewer"
LIVE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=300 threads=1 "
    "! rtph264pay name=pay0 pt=96 config-interval={config_interval} )"
)
PAYLOADERS = {".264": ("h264parse", "rtph264pay"), ".265": ("h265parse", "rtph265pay")}


def file_pipeline(path: Path, *, loop: bool) -> str:
    """Serves a raw Annex B file without re-encoding; parameter sets are sent with every IDR picture."""
    parse, pay = PAYLOADERS[path.suffix]
    source = f"multifilesrc loop={'true' if loop else 'false'} location={path}"
    return f"( {source} ! {parse} ! {pay} name=pay0 pt=96 config-interval=-1 )"


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
    arguments.add_argument("--loop", action="store_true")
    arguments.add_argument("--auth", choices=("none", "basic", "digest"), default="none")
    arguments.add_argument("--user", default="")
    arguments.add_argument("--password", default="")
    arguments.add_argument("--sdp-parameters-only", action="store_true", help="/live: no SPS and PPS in band")
    options = arguments.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    if options.auth != "none":
        server.set_auth(make_auth(options.auth, options.user, options.password))
    launches = {"/live": LIVE.format(config_interval=0 if options.sdp_parameters_only else -1)}
    if options.file:
        launches["/file"] = file_pipeline(options.file, loop=options.loop)
    for path, launch in launches.items():
        factory = make_factory(launch, protected=options.auth != "none")
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
