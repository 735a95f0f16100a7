"""The public names: one list, three places that must agree."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ovstream

ROOT = Path(__file__).parents[1]
SOURCE = ast.parse((ROOT / "ovstream" / "__init__.py").read_text())


def names_for_type_checkers() -> dict[str, str]:
    """Name -> module of the `if TYPE_CHECKING` block."""
    (block,) = [
        node
        for node in SOURCE.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    return {
        alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", ovstream.__all__)
def test_name_resolves(name: str) -> None:
    value = getattr(ovstream, name)
    assert value is getattr(ovstream, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"{name} has no docstring"


def test_all_is_sorted_without_repetition() -> None:
    assert ovstream.__all__ == sorted(set(ovstream.__all__))


def test_lazy_table_equals_all() -> None:
    lazy = set(ovstream._HOME_OF) | set(ovstream._SUBMODULES) | {"__version__"}
    assert lazy == set(ovstream.__all__)


def test_type_checkers_see_the_same_names_from_the_same_homes() -> None:
    expected = ovstream._HOME_OF | dict.fromkeys(ovstream._SUBMODULES, "ovstream")
    assert names_for_type_checkers() == expected


def test_homes_export_the_names() -> None:
    for name, home in ovstream._HOME_OF.items():
        module = importlib.import_module(home)
        assert name in getattr(module, "__all__", vars(module)), f"{home} does not export {name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ovstream.nonsense


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cargo = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["package"]
    assert ovstream.__version__ == project["version"] == cargo["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", ovstream.__version__)


def test_sources_without_the_native_core_say_so() -> None:
    """Who starts a script inside of a clone gets its folder, not what was installed from it."""
    script = "import sys; sys.modules['ovstream._native'] = None; import ovstream; ovstream.open"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "start from another folder, or install the clone" in done.stderr
