"""Clips of `benchmarks.fidelity`, and what whole passes make of them: the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt

from ovstream.encode import Encoder, Mode, load_encoder
from ovstream.encode.images import image_patches
from ovstream.encode.load import EMBEDDED
from ovstream.model.folder import ModelFolder
from ovstream.sources.scene import Scene
from ovstream.types import FloatArray, ModelInfo, Patches

if TYPE_CHECKING:
    from benchmarks.gates import GatedTransformer

SIDE_PX = 224
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
Frames = Iterable[npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a clip comes from.

    Attributes:
        name: For people.
        still: The camera does not move, and most of what it sees does not either.
        tuned: Constants of the encoder were chosen on it; the others are only reported.
        frames: Gives the first pictures, (height, width, 3) uint8 RGB.
    """

    name: str
    still: bool
    tuned: bool
    frames: Callable[[int], Frames]


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures as patches, and their dense embeddings.

    Attributes:
        name: For people.
        pictures: Of every picture all patches.
        scenes: (n, D) dense scene embeddings, float32.
        tokens: (n, N, D) dense tokens, float16.
    """

    name: str
    pictures: list[Patches]
    scenes: FloatArray
    tokens: npt.NDArray[np.float16]


class Model:
    """An encoder in both ways; the class token of a real transformer rides along with the patches."""

    def __init__(self, folder: str | Path, class_token: FloatArray | None = None) -> None:
        self._folder = folder
        self._class_token = class_token
        self.info: ModelInfo = self.encoder(0).info

    def encoder(self, probes: int, mode: Mode = "fast") -> Encoder:
        """Opens the model."""
        return load_encoder(self._folder, mode=mode, probes=probes)

    def gated(self, count: int) -> GatedTransformer:
        """The same network with token gates that let `count` through."""
        from benchmarks.gates import GatedTransformer
        from ovstream.encode.torch_backend import read_weights

        folder = Path(self._folder)
        folder = folder if folder.is_dir() else EMBEDDED / self._folder
        manifest = ModelFolder.read(folder)
        weights = read_weights(folder / manifest.weights_name("float32"))
        places = None
        if self._class_token is not None:
            from benchmarks.real_vit import stored_places

            places = stored_places()
        return GatedTransformer(manifest.architecture, weights, count=count, grid=(16, 16), places=places)

    def patches(self, rgb: npt.NDArray[np.uint8]) -> Patches:
        """Cuts a picture of 16x16 patches."""
        cut = image_patches(rgb, self.info, max_tokens=256)
        if self._class_token is None:
            return cut
        pixels = np.concatenate([cut.pixels, self._class_token])
        return Patches(np.arange(len(pixels), dtype=np.int32), pixels, (1, len(pixels)))

    def always(self, patches: Patches) -> npt.NDArray[np.int64]:
        """Slots that every call encodes."""
        return np.arange(256, len(patches))


def encode_dense(model: Model, name: str, frames: Frames, *, mode: Mode = "fast") -> Clip:
    """Makes the truth."""
    pictures = [model.patches(frame) for frame in frames]
    encoder = model.encoder(0, mode)
    state = encoder.new_state(pictures[0].grid)
    scenes, tokens = [], []
    for picture in pictures:
        output = encoder.encode_patches(state, picture)
        scenes.append(output.scene)
        tokens.append(output.tokens.astype(np.float16))
    return Clip(name, pictures, np.stack(scenes), np.stack(tokens))


def frames_of(path: Path, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Decodes the start of a file."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == count:
                return
            yield frame.reformat(width=SIDE_PX, height=SIDE_PX, format="rgb24").to_ndarray()


def of_file(path: Path, *, name: str = "", still: bool = False, tuned: bool = False) -> Source:
    """A clip from a file."""
    return Source(name or path.stem, still, tuned, lambda count: frames_of(path, count))


def generated(name: str, scene: Scene, *, still: bool, tuned: bool) -> Source:
    """A clip that is drawn."""
    return Source(name, still, tuned, lambda count: map(scene.render, range(count)))


def _scene(**options: float) -> Scene:
    return Scene(SIDE_PX, SIDE_PX, **options)  # type: ignore[arg-type]


GENERATED = (
    generated("static", _scene(seed=3, lighting=0.0, noise=1.0), still=True, tuned=True),
    generated("noisy", _scene(seed=3, lighting=0.0, noise=6.0), still=True, tuned=True),
    generated("changing light", _scene(seed=3, lighting=0.2, noise=1.0), still=False, tuned=True),
    generated("pan", _scene(seed=3, pan_px=2.0), still=False, tuned=True),
    generated(
        "static, another", _scene(seed=11, lighting=0.0, noise=1.0, objects=2), still=True, tuned=False
    ),
    generated("noisy, another", _scene(seed=12, lighting=0.0, noise=5.0), still=True, tuned=False),
    generated("slow pan", _scene(seed=13, pan_px=1.0), still=False, tuned=False),
    generated(
        "eight fast objects", _scene(seed=14, noise=2.0, objects=8, speed_px=4.0), still=False, tuned=False
    ),
)
