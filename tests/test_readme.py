"""The README tells the truth: its Python runs and prints what stands below it, its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovstream.cli.app import VERBS, load_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[a-z ]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, the comment right above it, and the block that follows."""

    mark: str | None
    language: str
    text: str
    following: str


def blocks() -> list[Block]:
    found = list(FENCE.finditer(README))
    texts = [match["text"] for match in found[1:]] + [""]
    return [
        Block(match["mark"], match["language"], match["text"], text)
        for match, text in zip(found, texts, strict=True)
    ]


def marked(mark: str) -> list[Block]:
    return [block for block in blocks() if block.mark == mark]


def shape(printed: str) -> str:
    """What must stay the same from machine to machine: all but figures and decisions that hang on them."""
    figures = re.sub(r"\d+([.,]\d+)*", "0", re.sub(r"\b(skip|sparse|dense)\b", "ACTION", printed))
    return re.sub(r" +", " ", figures).strip()


@pytest.mark.parametrize("number", range(len(marked("run"))))
def test_python_prints_what_the_readme_shows(number: int, tmp_path: Path) -> None:
    block = marked("run")[number]
    script = tmp_path / "readme.py"
    script.write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert shape(done.stdout) == shape(block.following)


def test_all_python_is_run() -> None:
    python = [block for block in blocks() if block.language == "python"]
    assert python
    assert [block.mark for block in python] == ["run"] * len(python)


def test_the_two_commands() -> None:
    (main,), (test,) = marked("main command"), marked("test command")
    for block in (main, test):
        assert block.language == "sh"
        assert len(block.text.splitlines()) == 1
        assert block.text.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert main.text.endswith("&& .venv/bin/ovstream demo\n")
    assert test.text.endswith("&& .venv/bin/pytest -n auto\n")
    assert "-c constraints-dev.txt" in test.text


def test_the_checks_run_the_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    body = re.search(r"^readme_test_command\(\) \{\n.*?^\}", script, re.M | re.S)
    assert body
    shell = f"venv=.venv\n{body[0]}\nreadme_test_command"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == marked("test command")[0].text


def command_lines() -> list[str]:
    lines = [line for block in blocks() if block.language == "sh" for line in block.text.splitlines()]
    return [line for line in lines if line.startswith("ovstream ")]


@pytest.mark.parametrize("line", command_lines())
def test_commands_and_their_options_exist(line: str) -> None:
    verb, *words = shlex.split(line, comments=True)[1:]
    command = load_command(verb)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    assert any(not word.startswith("-") for word in words) or verb in ("doctor", "top", "discover", "bench")


def test_every_verb_is_mentioned() -> None:
    text = "\n".join([*command_lines(), *(block.text for block in marked("main command"))])
    for verb in VERBS:
        assert f"ovstream {verb}" in text, verb


def test_it_says_that_the_model_is_untrained_as_long_as_it_is() -> None:
    import ovstream

    trained = ovstream.load_encoder().info.trained
    assert ("untrained" in README) is not trained
