"""onnxruntime tells nobody what it does."""

import os
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ovstream"


def _run(home: Path, code: str, **environment: str) -> str:
    known = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=known | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_loading_a_model_leaves_no_trace_in_the_home_folder(tmp_path: Path) -> None:
    code = "from ovstream.encode import load_encoder as load; load('ov-nano', backend='onnx'); import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert _run(tmp_path, code) == "1"
    assert list(tmp_path.rglob("*")) == []


def test_whoever_wants_the_telemetry_may_have_it(tmp_path: Path) -> None:
    code = "import ovstream.encode.ort, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert _run(tmp_path, code, ORT_DISABLE_TELEMETRY="0") == "0"


def test_one_file_alone_imports_onnxruntime() -> None:
    found = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) onnxruntime\b", path.read_text(), re.MULTILINE)
    ]
    assert found == ["encode/ort.py"]
