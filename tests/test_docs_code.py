"""The documents build without a warning, and the code in them is code: it compiles, parses, and names what exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ovstream.cli.app import VERBS, load_command
from ovstream.config import load_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(*languages: str) -> list[pytest.param]:
    return [
        pytest.param(found[2], id=f"{page.stem}-{number}")
        for page in PAGES
        for number, found in enumerate(BLOCK.finditer(page.read_text()))
        if found[1] in languages
    ]


def test_the_site_builds_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mkdocs = pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    assert mkdocs
    from mkdocs.commands.build import build
    from mkdocs.config import load_config as load_site

    site = load_site(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        build(site)
    assert [one.getMessage() for one in caplog.records if one.name.startswith("mkdocs")] == []
    pages = {page.relative_to(tmp_path).stem for page in tmp_path.glob("*.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= pages
    start = (tmp_path / "getting-started.html").read_text()
    assert not re.search(r"""(?:src|href)=["']https?://(?!www\.mkdocs\.org)""", start), (
        "nothing from other hosts"
    )


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles_and_names_what_exists(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ovstream"):
            found = importlib.util.find_spec(str(node.module))  # torch need not be loaded for it
            assert found is not None, node.module
            text = Path(str(found.origin)).read_text()
            for one in node.names:
                assert re.search(rf"\b{one.name}\b", text), f"{node.module}.{one.name}"
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "ovstream"
        ):
            assert hasattr(importlib.import_module("ovstream"), node.attr), f"ovstream.{node.attr}"


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_a_part_of_a_configuration(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fragments of a stream are put into one; the loader finds every wrong name and value."""
    found = yaml.safe_load(text)
    if found is None or re.match(r"# (mediamtx|go2rtc)\.", text):  # a comment for editors; files of others
        return
    if isinstance(found, list):
        found = {"streams": found}
    if not {"streams", "service", "defaults"} & found.keys():
        found = {"streams": [{"url": "x", **found}]}
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    for name in re.findall(r"\$\{([A-Z_]+)", text):
        monkeypatch.setenv(name, "0123456789abcdef")
    whole = re.sub(r"\$\{file:[^}]+\}", f"${{file:{secret}}}", yaml.safe_dump(found))
    path = tmp_path / "ovstream.yaml"
    path.write_text(whole)
    load_config(path, may_be_empty=True)


def commands(code: str) -> Iterator[list[str]]:
    """Calls of `ovstream` in a shell block, without comments and pipes."""
    for line in code.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\||;|&)\s", f" {line.partition(' #')[0]} "):
            words = shlex.split(part)
            while words and ("=" in words[0] or words[0] in ("sudo", "time")):
                words = words[1:]
            if words[:1] == ["timeout"]:
                words = words[2:]
            if words and Path(words[0]).name == "ovstream":
                yield words[1:]


@pytest.mark.parametrize("code", [one for one in blocks("sh", "bash") if "ovstream " in one.values[0]])
def test_commands_and_their_options_exist(code: str) -> None:
    for words in commands(code):
        verb, *words = words
        if verb.startswith("-"):
            assert (verb, words) == ("--version", [])
            continue
        assert verb in VERBS, f"ovstream {verb}"
        command: Any = load_command(verb)
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, f"ovstream {' '.join(words)}"
            command, words = command.commands[words[0]], words[1:]
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in {*known, "--help", "--version"}, f"{command.name} {word}"
