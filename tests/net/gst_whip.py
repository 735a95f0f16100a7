#!/usr/bin/python3
"""Publishes a drawn picture by WHIP with GStreamer's webrtcbin; runs under the system's Python, which has gi.

gst_whip.py URL {h264,h264-high,vp8,h265}    prints "ready" when it is connected, and runs until it is killed
"""

from __future__ import annotations

import sys
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

X264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=400"
H264 = "rtph264pay config-interval=-1 aggregate-mode=zero-latency"
RTP = "application/x-rtp,media=video,payload=96,clock-rate=90000,encoding-name="
ENCODERS = {
    "h264": f"{X264} ! video/x-h264,profile=constrained-baseline ! {H264} ! {RTP}H264",
    "h264-high": f"{X264} ! video/x-h264,profile=high ! {H264} ! {RTP}H264",
    "vp8": f"vp8enc deadline=1 keyframe-max-dist=25 target-bitrate=400000 ! rtpvp8pay ! {RTP}VP8",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=400 "
    f"! rtph265pay config-interval=-1 ! {RTP}H265",
    "vp9": f"vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! rtpvp9pay ! {RTP}VP9",
}
CAMERA = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1,format=I420 ! "
)


class Publisher:
    """One webrtcbin: offers when all its candidates are known, and follows the answer.

    Args:
        url: Of the WHIP endpoint.
        codec: One of `ENCODERS`.
    """

    def __init__(self, url: str, codec: str) -> None:
        self._url = url
        self._posted = False
        self._loop = GLib.MainLoop()
        self._pipeline = Gst.parse_launch(f"{CAMERA}{ENCODERS[codec]} ! peer.")
        self._peer = self._pipeline.get_by_name("peer")
        self._peer.connect("on-negotiation-needed", self._offer)
        self._peer.connect("notify::ice-gathering-state", self._gathered)
        self._peer.connect("notify::connection-state", self._state)
        bus = self._pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self._error)

    def run(self) -> None:
        self._pipeline.set_state(Gst.State.PLAYING)
        self._loop.run()
        self._pipeline.set_state(Gst.State.NULL)

    def _offer(self, _peer: object) -> None:
        transceiver = self._peer.emit("get-transceiver", 0)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        transceiver.set_property("do-nack", True)
        promise = Gst.Promise.new_with_change_func(self._offered, None, None)
        self._peer.emit("create-offer", None, promise)

    def _offered(self, promise: Gst.Promise, *_more: object) -> None:
        self._kept = promise.get_reply()  # gi frees the description with it
        offer = self._kept.get_value("offer")
        _, message = GstSdp.SDPMessage.new_from_text(offer.sdp.as_text())
        kind = GstWebRTC.WebRTCSDPType.OFFER
        self._description = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self._peer.emit("set-local-description", self._description, Gst.Promise.new())

    def _gathered(self, *_more: object) -> None:
        state = self._peer.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self._posted:
            self._posted = True
            GLib.idle_add(self._post)

    def _post(self) -> bool:
        offer = self._peer.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(self._url, offer.encode(), {"Content-Type": "application/sdp"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                answer = response.read().decode()
        except urllib.error.HTTPError as error:
            print("refused", error.code, flush=True)
            self._loop.quit()
            return False
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        description = GstWebRTC.WebRTCSessionDescription.new(kind, message)
        self._peer.emit("set-remote-description", description, Gst.Promise.new())
        return False

    def _state(self, *_more: object) -> None:
        if self._peer.get_property("connection-state").value_nick == "connected":
            print("ready", flush=True)

    def _error(self, _bus: object, message: Gst.Message) -> None:
        print("error", message.parse_error()[0], flush=True)
        self._loop.quit()


if __name__ == "__main__":
    Gst.init(None)
    Publisher(sys.argv[1], sys.argv[2]).run()
