"""Takes the pictures of the page in docs/images, of a real service with embedded cameras, in Chromium.

python tools/page_pictures.py [--seconds 90] [--folder docs/images]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

GATE = {"name": "gate", "polygon": [[0.2, 0.3], [0.62, 0.3], [0.62, 0.9], [0.2, 0.9]]}
ARRIVAL = {"name": "arrival", "when": "motion", "zone": "gate", "above": 0.02}
WINDOW = [[0.66, 0], [1, 0], [1, 0.34], [0.66, 0.34]]
SETTLE_SECONDS = 12


def camera(name: str, scene: str, **options: Any) -> dict[str, Any]:
    """Makes an embedded camera."""
    url = f"synthetic:?width=640&height=360&fps=6&gop=24&{scene}"
    return {"url": url, "stream_id": name, "source": {"pace": "realtime", "loop": True}, **options}


def cameras(folder: Path) -> list[dict[str, Any]]:
    """Six of them: a zone with a rule, a mask, quiet ones, and one that nobody answers for."""
    sink = {"type": "jsonl", "path": str(folder / "entrance.jsonl")}
    watch = {"zones": [GATE], "rules": [ARRIVAL]}
    return [
        camera("entrance", "objects=3&seed=1&rest=0.3&speed=5", watch=watch, sinks=[sink]),
        camera("car-park", "objects=0&seed=4"),
        camera("loading-dock", "objects=5&seed=7&rest=0.1&speed=4", plan={"masks": [WINDOW]}),
        {"url": "rtsp://127.0.0.1:9/stream1", "stream_id": "back-yard"},
        camera("corridor", "objects=1&seed=9&rest=0.6&speed=3"),
        camera("store-room", "objects=2&seed=12&rest=0.5&speed=3"),
    ]


def take(browser: Browser, address: str, path: Path, *, open_camera: str = "", **options: Any) -> None:
    """Opens the page, waits until it has something to show, and keeps what is seen."""
    page = browser.new_page(locale="en-GB", **options)
    page.goto(address)
    if open_camera:
        page.get_by_role("button", name=open_camera).click(timeout=60_000)
    time.sleep(SETTLE_SECONDS)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        Image.open(file.name).convert("RGB").save(path, quality=85, optimize=True)
    page.close()


def main() -> None:
    """Starts the service and takes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90, help="that the cameras run before")
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "ovstream.json"
        load = {"max_latency_seconds": 1000, "max_cpu": 1.0}
        config.write_text(
            json.dumps({"streams": cameras(Path(name)), "service": {"http": {"port": 0}, "load": load}})
        )
        command = [sys.executable, "-m", "ovstream", "serve", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as service:
            try:
                assert service.stdout is not None
                address = service.stdout.readline().split()[0]
                time.sleep(args.seconds)
                with sync_playwright() as play:
                    chromium = play.chromium.launch(
                        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                    )
                    wide = {"viewport": {"width": 1440, "height": 900}}
                    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
                    take(chromium, address, args.folder / "page.jpg", color_scheme="light", **wide)
                    take(
                        chromium,
                        address,
                        args.folder / "page-detail.jpg",
                        open_camera="entrance",
                        color_scheme="dark",
                        **wide,
                    )
                    take(chromium, address, args.folder / "page-phone.jpg", color_scheme="light", **phone)
                    chromium.close()
            finally:
                service.terminate()


if __name__ == "__main__":
    main()
