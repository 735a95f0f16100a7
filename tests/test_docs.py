"""The documents agree with each other and with the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRONG_NAME = re.compile(r"""pip install (?:[^\n`&]* )?['"]?ovstream(?!-edge)\b""")
LINK = re.compile(r"!?\[[^\]]+\]\((?P<target>[^)\s]+)\)")


def documents() -> list[Path]:
    folders = ("", "docs", "deploy", "examples", "benchmarks", "native/fuzz")
    return sorted(path for folder in folders for path in (ROOT / folder).glob("*.md"))


def anchors(path: Path) -> set[str]:
    """Names that a heading gets: lower case, spaces as dashes, no punctuation."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.finditer(path.read_text()):
        name, _, anchor = link["target"].partition("#")
        if name.startswith("https://"):
            continue
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link['target']}"
        assert target.is_relative_to(ROOT), f"{path.name} leads out of the repository: {link['target']}"
        assert not anchor or anchor in anchors(target), f"{path.name}: no heading for {link['target']}"


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_is_told_to_install_the_other_product(path: Path) -> None:
    assert not WRONG_NAME.search(path.read_text())


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pip install ovstream", True),
        ("pip install -U 'ovstream[torch]'", True),
        ("pip install 'ovstream-edge[torch]'", False),
        ("pip install . && ovstream demo", False),
        ("pip install /path/to/ovstream", False),
    ],
)
def test_the_wrong_name_would_be_found(line: str, wrong: bool) -> None:
    assert bool(WRONG_NAME.search(line)) is wrong


def identifiers(path: Path) -> set[str]:
    """Words in code type that look like names of ours: CamelCase or with an underscore."""
    words = set(re.findall(r"`([A-Za-z_][A-Za-z0-9_]*)(?:\(\))?`", path.read_text()))
    return {word for word in words if re.search(r"[a-z][A-Z]|_", word)}


def sources() -> str:
    paths = [*(ROOT / "ovstream").rglob("*.py"), *(ROOT / "native" / "src").rglob("*.rs")]
    return "\n".join(path.read_text() for path in [*paths, ROOT / "deploy" / "ovstream.service"])


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/architecture.md", "docs/bitstream.md", "docs/glossary.md", "docs/operations.md"],
)
def test_names_in_documents_exist_in_the_code(name: str) -> None:
    code = sources()
    assert {word for word in identifiers(ROOT / name) if not re.search(rf"\b{word}\b", code)} == set()


def test_architecture_names_every_layer() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "ovstream").iterdir():
        if path.name.startswith(("_", ".")) or path.name in {"models", "py.typed"}:
            continue
        assert f"`{path.stem}`" in text, path.stem


def test_no_machine_path_anywhere() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    places = re.compile(r"/(?:work|root|home)/[a-z]")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".md", ".py", ".rs", ".toml", ".yaml", ".sh", ""} and path.is_file():
            assert not places.search(path.read_text(errors="replace")), name


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]", text, re.M)
    for head in re.findall(r"^### (.+)$", text, re.M):
        assert head in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
