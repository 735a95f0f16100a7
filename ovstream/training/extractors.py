"""Feature extractors that are compared: a model folder, the same untrained, an ONNX file, hand-made features.

All see the same pictures, 224 px square; what a network wants otherwise is scaled from those.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from ovstream.encode import Encoder, load_encoder
from ovstream.encode.images import image_patches
from ovstream.encode.load import find_model
from ovstream.errors import MissingExtraError, TrainingError
from ovstream.model.folder import ModelFolder
from ovstream.training.readout import Readout, read_out
from ovstream.types import FloatArray

Picture = npt.NDArray[np.uint8]
SIDE_PX = 224
RAW_PX = 16
HOG_PX = 64
CHANNEL_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet
CHANNEL_STD = np.array([0.229, 0.224, 0.225], np.float32)


class Extractor(Protocol):
    """Pictures to features.

    Attributes:
        name: For people.
        digest: Changes with everything that changes the features.
    """

    name: str
    digest: str

    def __call__(self, picture: Picture) -> FloatArray:
        """(224, 224, 3) uint8 RGB -> (F,) float32."""


class RawPixels:
    """Colours of 16 x 16 cells."""

    name, digest = "raw pixels", f"raw-{RAW_PX}"

    def __call__(self, picture: Picture) -> FloatArray:
        """As `Extractor`."""
        return _scaled(picture, RAW_PX, Image.Resampling.BOX).ravel()


class Hog:
    """Histograms of oriented gradients, cells of 8 px at 64 px (Dalal and Triggs, 2005)."""

    name, digest = "HOG", f"hog-{HOG_PX}"

    def __init__(self) -> None:
        try:
            from skimage.feature import hog
        except ImportError:
            raise MissingExtraError("skimage", extra="training") from None
        self._hog = hog

    def __call__(self, picture: Picture) -> FloatArray:
        """As `Extractor`."""
        grey = Image.fromarray(picture).convert("L").resize((HOG_PX, HOG_PX), Image.Resampling.BICUBIC)
        found: FloatArray = self._hog(np.asarray(grey), pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        return found.astype(np.float32)


class Eye:
    """A model that looks at single pictures, each once: readouts of the same picture share the pass.

    Args:
        encoder: Of the model; mode "fast" without probes is a whole pass in int8.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._picture: Picture | None = None

    def read(self, picture: Picture, readout: Readout) -> FloatArray:
        """Returns (F,) float32: see `read_out`."""
        if picture is not self._picture:
            info = self.encoder.info
            most = min((SIDE_PX // info.patch_px) ** 2, info.max_tokens)
            patches = image_patches(picture, info, max_tokens=most)
            self._output = self.encoder.encode_patches(self.encoder.new_state(patches.grid), patches)
            self._picture, self._grid = picture, patches.grid
        return read_out(self._output, self._grid, readout)


class ModelFeatures:
    """A readout of a model.

    Args:
        eye: Looks.
        readout: What is taken of its output.
        name: For people; by default the model's.
    """

    def __init__(self, eye: Eye, *, readout: Readout = "scene", name: str | None = None) -> None:
        info = eye.encoder.info
        base = name or info.model_id
        self.name = base if readout == "scene" else f"{base}, {readout}"
        self.digest = f"{info.digest}-{eye.encoder.mode}-{readout}"
        self._eye, self._readout = eye, readout

    def __call__(self, picture: Picture) -> FloatArray:
        """As `Extractor`."""
        return self._eye.read(picture, self._readout)


class OnnxFeatures:
    """A feature extractor in an ONNX file: (B, 3, H, W) in; (B, F), (B, n, F) or (B, F, h, w) out.

    Pixels are normalised by ImageNet's means; features per place are averaged. Of several outputs the first counts.

    Args:
        path: The file.

    Raises:
        TrainingError: There is no such file, or it is no such model.
    """

    def __init__(self, path: Path) -> None:
        from ovstream.encode.ort import onnxruntime

        if not path.is_file():
            raise TrainingError(f"there is no file {path}")
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common ancestor of their own
            raise TrainingError(f"{path} is no ONNX model: {error}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise TrainingError(f"{path} takes {shapes}: an extractor takes pictures (B, 3, H, W)")
        self.name = path.stem
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self._path, self._input = path, inputs[0].name
        sides = inputs[0].shape[2:]
        self._height, self._width = (side if isinstance(side, int) else SIDE_PX for side in sides)

    def __call__(self, picture: Picture) -> FloatArray:
        """As `Extractor`."""
        sized = Image.fromarray(picture).resize((self._width, self._height), Image.Resampling.BICUBIC)
        values = (np.asarray(sized, np.float32) / 255 - CHANNEL_MEAN) / CHANNEL_STD
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
        found: FloatArray = self._session.run(None, {self._input: batch})[0]
        if found.ndim not in (2, 3, 4) or len(found) != 1:
            raise TrainingError(f"{self._path} gives {found.shape} for a picture: no features")
        places = {2: (), 3: (1,), 4: (2, 3)}[found.ndim]
        pooled: FloatArray = found.mean(places)[0]
        return pooled


def untrained_like(name_or_folder: str | Path, *, seed: int = 0) -> Encoder:
    """Makes an encoder of a model's shape with random weights, in mode "fast" without probes; needs torch and onnx.

    Raises:
        MissingExtraError: They are not installed.
        ModelError: There is no such model.
    """
    try:
        from ovstream.model.export import export_model, random_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", extra="training") from None
    with TemporaryDirectory() as folder:
        shape = ModelFolder.read(find_model(name_or_folder)).architecture
        export_model(random_model(shape, seed=seed), folder, model_id="untrained", trained=False)
        return load_encoder(folder, mode="fast", probes=0)


def _scaled(picture: Picture, side: int, how: Image.Resampling) -> FloatArray:
    return np.asarray(Image.fromarray(picture).resize((side, side), how), np.float32)
