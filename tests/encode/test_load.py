"""Opening model folders: light, checked, with errors that name the file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ovstream.encode import load_encoder
from ovstream.encode.load import EMBEDDED
from ovstream.errors import ConfigError, ModelError


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_embedded_model_loads_quickly_and_says_that_it_was_trained() -> None:
    start = time.process_time()
    encoder = load_encoder()
    assert time.process_time() - start < 1.0
    info = encoder.info
    assert (info.model_id, info.trained, info.dim, info.patch_px) == ("ov-nano", True, 192, 14)
    assert info.max_tokens == 1024


@pytest.mark.parametrize(("mode", "limit"), [("exact", 1e-4), ("dense", 1e-4), ("fast", 0.1)])
def test_self_test_of_the_embedded_model(mode: str, limit: float) -> None:
    assert load_encoder("ov-nano", mode=mode).golden_error < limit


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_half_caches_pass_the_self_test_of_the_embedded_model(
    mode: str, backend: str, tmp_path: Path
) -> None:
    """They are rounded once more, which is no fault; another model's vector is one, and the error names the cache."""
    error = load_encoder("ov-nano", mode=mode, backend=backend, cache="float16").golden_error
    assert error > load_encoder("ov-nano", mode="exact").golden_error
    wrong = Path(shutil.copytree(EMBEDDED / "ov-nano", tmp_path / "copy"))
    change(wrong, golden=json.loads((wrong / "config.json").read_text())["golden"][::-1])
    with pytest.raises(ModelError, match=r"self-test.*cache float16"):
        load_encoder(wrong, mode=mode, backend=backend, cache="float16")


def test_import_is_light_and_running_needs_no_torch() -> None:
    heavy = "[m for m in ('torch', 'onnx', 'onnxruntime', 'safetensors', 'PIL') if m in sys.modules]"
    assert python(f"import sys, ovstream.encode; print({heavy})") == "[]"
    code = (
        "import sys; sys.modules.update(torch=None, onnx=None, safetensors=None)\n"
        "import numpy, ovstream.encode as e\n"
        "print(e.load_encoder('ov-nano').encode_image(numpy.zeros((40, 60, 3), 'uint8')).scene.shape)"
    )
    assert python(code) == "(192,)"


def test_missing_torch_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import ovstream.model\n"
        "from ovstream.errors import MissingExtraError\n"
        "try: ovstream.model.OneVisionEncoder\n"
        "except MissingExtraError as error: print(error.extra, error)"
    )
    assert python(code) == "torch 'torch' is needed for this: pip install 'ovstream-edge[torch]'"


def test_an_unknown_name_lists_the_embedded_models() -> None:
    with pytest.raises(ModelError, match=r"neither a folder nor an embedded model \(ov-nano\)"):
        load_encoder("ovstream-gigantic")


@pytest.mark.parametrize("name", ["config.json", "float32.onnx", "weights.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_encoder(copy, mode="exact")


def test_changed_weights_are_noticed(copy: Path) -> None:
    path = copy / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="digest"):
        load_encoder(copy, mode="exact")


def test_an_unreadable_graph_is_named(copy: Path) -> None:
    (copy / "float32.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"float32\.onnx"):
        load_encoder(copy, mode="exact", backend="onnx")


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_wrong_vector_fails_the_self_test(copy: Path, mode: str) -> None:
    golden = json.loads((copy / "config.json").read_text())["golden"]
    change(copy, golden=golden[::-1])
    with pytest.raises(ModelError, match="self-test"):
        load_encoder(copy, mode=mode)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "other"),
        ("golden", [[1.0], [2.0]]),
        ("mean", [1, 2]),
        ("architecture", {"hidden_size": 64}),
    ],
)
def test_a_wrong_configuration_is_named(copy: Path, key: str, value: object) -> None:
    change(copy, **{key: value})
    with pytest.raises(ModelError, match=r"config\.json|configuration lacks"):
        load_encoder(copy)


def test_wrong_options_list_the_right_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match="fast, exact, dense"):
        load_encoder(folder, mode="quick")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cpu, cuda, tensorrt, openvino"):
        load_encoder(folder, provider="npu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"OpenVINOExecutionProvider.*onnxruntime-openvino"):
        load_encoder(folder, provider="openvino")
    with pytest.raises(ConfigError, match="threads"):
        load_encoder(folder, threads=0)


def test_threads_make_no_difference_beyond_rounding(folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    one, two = (load_encoder(folder, mode="exact", threads=n).encode_image(image).scene for n in (1, 2))
    assert np.abs(one - two).max() < 1e-5


def test_int8_products_do_not_saturate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel chosen for this processor equals the one that is exact on all."""
    image = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    chosen = load_encoder(folder, mode="fast", backend="onnx").encode_image(image).scene
    monkeypatch.setattr("ovstream.encode.session.int8_saturates", lambda: True)
    careful = load_encoder(folder, mode="fast", backend="onnx").encode_image(image).scene
    assert np.abs(chosen - careful).max() < 1e-5


@pytest.mark.parametrize(
    ("machine", "flags", "careful"),
    [
        ("x86_64", "flags : avx2 avx512_vnni", False),
        ("x86_64", "flags : avx_vnni", False),
        ("x86_64", "flags : avx2", True),
        ("aarch64", "Features : asimd", False),
    ],
)
def test_processors_without_vnni_take_the_careful_kernel(
    machine: str, flags: str, careful: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovstream.encode import session

    monkeypatch.setattr(session.platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda _: flags)
    assert session.int8_saturates() is careful
