"""A monitoring app: zones and rules of one camera, and a webhook that is called when something happens.

    python examples/monitoring.py [rtsp://... or FILE [WEBHOOK]]

Without a webhook it prints its own calls. Motion is told by the codec, "unusual" by the camera's past: no model needed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import ovstream

WATCH = {
    "zones": [{"name": "left half", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}],
    "rules": [
        {"name": "someone there", "when": "motion", "zone": "left half", "above": 0.05, "quiet_seconds": 1},
        {"name": "odd scene", "when": "unusual", "above": 4},
        {"name": "camera gone", "when": "silent", "above": 10},
    ],
}


class Hook(BaseHTTPRequestHandler):
    """Stands for your own server: prints what comes."""

    def do_POST(self) -> None:  # noqa: D102 - the name that http.server calls
        print("webhook:", self.rfile.read(int(self.headers["content-length"])).decode(), flush=True)
        self.send_response_only(204)
        self.end_headers()


def call(webhook: str, text: str) -> None:
    """Sends one event; a server that is away for a while must not end the watch."""
    try:
        urllib.request.urlopen(urllib.request.Request(webhook, text.encode()), timeout=5).close()
    except OSError as error:
        print(f"webhook: {error}: not told: {text}", file=sys.stderr)


async def main(url: str = "synthetic:?seconds=6&speed=4", webhook: str | None = None) -> None:
    """Follows the camera until it ends."""
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhook = webhook or f"http://127.0.0.1:{server.server_port}"
    async with ovstream.open(url, stream_id="entrance", watch=WATCH) as stream:
        running = asyncio.create_task(stream.run())
        async for event in stream.events():
            if event.kind in ("rule", "quality", "lost"):
                await asyncio.to_thread(call, webhook, event.detail)
        print(f"{(await running).frames} pictures")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
