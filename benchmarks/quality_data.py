"""What `benchmarks.quality` shows to all: held-out clips of cameras, labelled pictures, and clips that are made.

Nothing here was trained on. Sampled pictures are 224 px square.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream
from PIL import Image

from benchmarks.fidelity_clips import CORPUS
from ovstream.training.measures import Names

SIDE_PX = 224
MOST_PICTURES = 150
Pictures = npt.NDArray[np.uint8]

FIGHTS = CORPUS / "labelled" / "surveillance_fight"
TINY = CORPUS / "labelled" / "tiny_imagenet_val_2000.tar"

CAMERAS = (
    ("fi044", "nofi022"),
    ("fi046", "fi050", "nofi023"),
    ("fi062", "fi064", "nofi148", "nofi149"),
    ("fi116", "fi118", "fi120", "nofi050"),
    ("fi105", "fi106", "nofi026", "nofi027"),
    ("fi128", "nofi093", "nofi094"),
    ("fi026", "nofi060"),
    ("fi132", "nofi099"),
    ("fi032", "fi036", "fi037", "fi041", "fi042", "nofi029", "nofi031", "nofi032"),
    ("nofi077", "nofi079", "nofi082", "nofi083"),
    ("nofi084", "nofi087"),
    ("nofi089", "nofi090"),
    ("fi079", "fi080"),
    ("fi075", "fi076"),
    ("fi100", "nofi021"),
)
"""Fight clips that one camera, or the cameras of one house, took (told by eye); all others stand alone."""

HELD_OUT = (
    "camera/car-detection.mp4",
    "camera/bottle-detection.mp4",
    "camera/walking.mp4",
    "camera/rv1126_t1.h264",
    "robot/jetson_6.h264",
    "robot/rpi_cam_5.h264",
    "robot/runcam_4.h264",
    "camera/fi001.mp4",
    "camera/nofi001.mp4",
    "camera/fi023.mp4",
    "camera/nofi024.mp4",
    "camera/fi047.mp4",
    "camera/nofi045.mp4",
    "camera/fi073.mp4",
    "camera/nofi081.mp4",
    "camera/fi101.mp4",
    "camera/nofi108.mp4",
)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Pictures with what is known of them.

    Attributes:
        pictures: (n, 224, 224, 3) uint8 RGB.
        labels: (n,) classes.
        clips: (n,) what they come from.
        groups: (n,) what must not help each other.
        order: (n,) number inside the clip.
    """

    pictures: Pictures
    labels: Names
    clips: Names
    groups: Names
    order: npt.NDArray[np.int64]

    @property
    def digest(self) -> str:
        """Of the pictures."""
        return hashlib.sha256(np.ascontiguousarray(self.pictures).tobytes()).hexdigest()[:16]


def frames(path: Path) -> list[av.VideoFrame]:
    """The first pictures of a clip, as they are shown."""
    found: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found.append(frame)
            if len(found) == MOST_PICTURES:
                break
    return found


def spread(path: Path, count: int) -> Pictures:
    """(count, 224, 224, 3), evenly over the start of a clip."""
    found = frames(path)
    chosen = np.linspace(0, len(found) - 1, count).round().astype(int)
    shown = [found[number].reformat(SIDE_PX, SIDE_PX, "rgb24").to_ndarray() for number in chosen]
    return np.stack(shown)


def fight_files() -> list[tuple[Path, str, str]]:
    """(path, label, camera) of every fight clip."""
    camera = {name: group[0] for group in CAMERAS for name in group}
    with (FIGHTS / "index.tsv").open(newline="") as file:
        rows = sorted(csv.DictReader(file, delimiter="\t"), key=lambda row: row["path"])
    paths = [(FIGHTS / row["path"], row["label"]) for row in rows]
    return [(path, label, camera.get(path.stem, path.stem)) for path, label in paths]


def fights(samples: int = 8) -> Labelled:
    """Surveillance clips with and without a fight."""
    files = fight_files()
    return Labelled(
        np.concatenate([spread(path, samples) for path, _, _ in files]),
        np.repeat([label for _, label, _ in files], samples),
        np.repeat([path.stem for path, _, _ in files], samples),
        np.repeat([camera for _, _, camera in files], samples),
        np.tile(np.arange(samples), len(files)),
    )


def scenes(samples: int = 16) -> Labelled:
    """Held-out camera clips."""
    paths = [CORPUS / name for name in HELD_OUT if (CORPUS / name).is_file()]
    names = np.repeat([path.stem for path in paths], samples)
    pictures = np.concatenate([spread(path, samples) for path in paths])
    return Labelled(pictures, names, names, names, np.tile(np.arange(samples), len(paths)))


def tiny(source: Path, per_class: int) -> Labelled:
    """Pictures of Tiny-ImageNet: a folder of folders by class, or a tar file of such."""
    found: dict[str, list[bytes]] = {}
    for name, data in _tiny_files(source):
        members = found.setdefault(name, [])
        if len(members) < per_class:
            members.append(data)
    pictures = [_square(data) for members in found.values() for data in members]
    labels = np.repeat(list(found), [len(members) for members in found.values()])
    alone = np.arange(len(labels))
    return Labelled(np.stack(pictures), labels, alone, alone, np.zeros(len(labels), np.int64))


def _tiny_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """(class, file) in the order of names."""
    if source.is_dir():
        for path in sorted(source.glob("**/*.JPEG")):
            yield next(part for part in reversed(path.parts[:-1]) if part != "images"), path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            file = archive.extractfile(member) if member.name.endswith(".JPEG") else None
            if file is not None:
                yield Path(member.name).parent.name, file.read()


def _square(data: bytes) -> Pictures:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def encode(path: Path, shown: list[Pictures], *, fps: int = 25) -> None:
    """Writes a clip by x264, without B pictures, as cameras do."""
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    with av.open(str(partial), "w") as container:
        options = {"preset": "veryfast", "threads": "1", "crf": "23", "bf": "0", "g": "50"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = *shown[0].shape[:2], "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for index, picture in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    partial.replace(path)
