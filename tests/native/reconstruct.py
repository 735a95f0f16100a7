"""Proof by samples: a decoder in Rust on top of our parser rebuilds the luma that FFmpeg decodes.

The decoder (`native/tests`) is there for this proof alone: it takes modes, motion vectors, reference lists and
coefficients from the parser and makes samples of them as the standards say. Any of them that is wrong shows.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

NATIVE = Path(__file__).parents[2] / "native"
DECODERS = {"h264": "h264", "h265": "hevc"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was rebuilt of one clip.

    Attributes:
        frames: Frames that we rebuilt.
        equal: Those whose samples are FFmpeg's.
        macroblocks: Macroblocks (H.265: coding tree units) in them.
        difference: The first one, or why there are no samples.
    """

    frames: int
    equal: int
    macroblocks: int
    difference: str

    @property
    def perfect(self) -> bool:
        return 0 < self.frames == self.equal and not self.difference


def rebuild(codec: str, clips: Mapping[str, list[bytes]], folder: Path) -> dict[str, Outcome]:
    """Rebuilds clips, given as access units, and compares each frame with PyAV's."""
    write(codec, clips, folder)
    return results(codec, folder)


def samples(codec: str, clips: Mapping[str, list[bytes]], folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """Luma of 8-bit clips as the standard says, frame after frame in the order of display, where FFmpeg is no judge."""
    write(codec, clips, folder)
    cargo_test(f"{codec}_reconstruct", "samples_of_a_folder", OVBITS_CLIPS=str(folder))
    return {name: np.fromfile(folder / f"{name}.rebuilt", np.uint8) for name in clips}


def write(codec: str, clips: Mapping[str, list[bytes]], folder: Path) -> None:
    """Writes access units and PyAV's luma."""
    for name, units in clips.items():
        lengths = (struct.pack("<I", len(unit)) + unit for unit in units)
        (folder / f"{name}.units").write_bytes(b"".join(lengths))
        with (folder / f"{name}.luma").open("wb") as file:
            file.writelines(luma(DECODERS[codec], units))


def results(codec: str, folder: Path) -> dict[str, Outcome]:
    """Rebuilds the clips of a folder."""
    cargo_test(f"{codec}_reconstruct", "clips_of_a_folder", OVBITS_CLIPS=str(folder))
    outcomes = {}
    for line in (folder / "results.tsv").read_text().splitlines():
        name, frames, equal, macroblocks, difference = line.split("\t")
        outcomes[name] = Outcome(int(frames), int(equal), int(macroblocks), difference)
    return outcomes


def luma(decoder: str, units: list[bytes]) -> Iterator[bytes]:
    """The visible luma samples of each picture in the order of display; 16 bits little endian beyond eight."""
    context = av.CodecContext.create(decoder, "r")
    context.thread_count = 1
    context.options = {"flags": "unaligned", "strict": "strict"}
    for index, unit in enumerate([*units, None]):
        packet = None
        if unit is not None:
            packet = av.Packet(unit)
            packet.pts = packet.dts = index
            packet.time_base = Fraction(1, 25)
        for frame in context.decode(packet):
            assert isinstance(frame, VideoFrame)
            plane = frame.planes[0]
            lines = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
            width = frame.width * (2 if frame.format.components[0].bits > 8 else 1)
            yield lines[:, :width].tobytes()


def cargo_test(file: str, test: str, **variables: str) -> str:
    """Runs a test of the native core that needs its surroundings, as `cargo test` builds it; its output."""
    cargo = shutil.which("cargo") or str(Path.home() / ".cargo" / "bin" / "cargo")
    command = [cargo, "test", "--quiet", "--locked", "--manifest-path", str(NATIVE / "Cargo.toml")]
    command += ["--test", file, "--", "--ignored", "--nocapture", "--exact", test]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
