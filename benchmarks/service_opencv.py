"""The common motion detector, as a process to measure: decode, grey, blur, difference, threshold.

    python -m benchmarks.service_opencv URL CAMERAS SECONDS

prints CPU seconds, pictures and resident MiB of that time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

WARM_SECONDS = 5.0


def watch(url: str, counts: list[int], index: int) -> None:
    """One camera, for ever."""
    import cv2

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    before = None
    while capture.isOpened():
        good, image = capture.read()
        if not good:
            return
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if before is not None:
            cv2.countNonZero(cv2.threshold(cv2.absdiff(grey, before), 25, 255, cv2.THRESH_BINARY)[1])
        before = grey
        counts[index] += 1


def main() -> None:
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|threads;1"
    import cv2

    cv2.setNumThreads(1)
    url, cameras, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    counts = [0] * cameras
    for index in range(cameras):
        threading.Thread(target=watch, args=(url, counts, index), daemon=True).start()
    deadline = time.monotonic() + 60
    while not all(counts):
        assert time.monotonic() < deadline, f"OpenCV reads nothing from {url}"
        time.sleep(0.1)
    time.sleep(WARM_SECONDS)
    pictures, cpu = sum(counts), time.process_time()
    time.sleep(seconds)
    pictures, cpu = sum(counts) - pictures, time.process_time() - cpu
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(cpu, pictures, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, flush=True)
    os._exit(0)  # the captures wait for pictures


if __name__ == "__main__":
    main()
