"""Instructions of the native core per clip: a slower version shows on a busy machine, where times say nothing.

    python -m tests.native.instructions            compares with instructions.json
    python -m tests.native.instructions --update   writes it anew: the reason belongs into the commit

callgrind counts what is executed inside the installed library. The counts belong to one compiler: with another one there
is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import ovstream._native

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
FOLDER = HERE / "clips"
TOLERANCE = 0.05
"""What a change may cost without a word: the compiler's choices alone differ by 4 % with the folder of the sources."""

# Nothing but the library: no NumPy, which takes seconds under callgrind. Units stand behind lengths of four bytes.
_CHILD = """
import ctypes, sys
library, codec, path = sys.argv[1:]
core = ctypes.CDLL(library)
make = getattr(core, f"ovbits_{codec}_new")
make.restype, make.argtypes = ctypes.c_void_p, [ctypes.c_uint64]
core.ovbits_parse.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint8] + [ctypes.c_void_p] * 3
parser = make(1 << 26)
options = (ctypes.c_uint32 * 3)(1, 1, 0)  # with energy
picture, error = ctypes.create_string_buffer(256), ctypes.create_string_buffer(256)
data = open(path, "rb").read()
while data:
    end = 4 + int.from_bytes(data[:4], "big")
    unit, data = data[4:end], data[end:]
    assert core.ovbits_parse(parser, unit, len(unit), 0, options, picture, error) == 0
"""


def library() -> Path:
    """The installed native core."""
    folder = Path(ovstream._native.__path__[0])
    return next(path for path in folder.iterdir() if path.suffix in (".so", ".pyd", ".dylib"))


def compiler() -> str:
    """Version of the Rust compiler on this machine; empty without one."""
    rustc = shutil.which("rustc") or shutil.which("rustc", path=str(Path.home() / ".cargo" / "bin"))
    if rustc is None:
        return ""
    return subprocess.run([rustc, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def count(clip: Path) -> int:
    """Instructions that reading a clip takes; its name begins with the codec."""
    arguments = [str(library()), clip.stem.split("-")[0], str(clip)]
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        python = [sys.executable, "-I", "-S", "-c", _CHILD]
        done = subprocess.run(
            [*valgrind, *python, *arguments], check=False, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return _inside(profile.read_text(), library().name)


def _inside(profile: str, name: str) -> int:
    """Instructions of the functions of one object file, without those that they call elsewhere."""
    total, inside, ours, skip = 0, False, "", False
    for line in profile.splitlines():
        if found := re.match(r"(c?)ob=(\(\d+\))(?: (.*))?$", line):
            if found[3] and Path(found[3]).name == name:
                ours = found[2]
            if not found[1]:
                inside = found[2] == ours
        elif line.startswith("calls="):
            skip = True  # the next line is the cost of the callee
        elif line[:1] in "+-*0123456789" and line:
            if inside and not skip:
                total += int(line.split()[1])
            skip = False
    if not total:
        raise RuntimeError(f"callgrind saw nothing of {name}")
    return total


def measure() -> dict[str, int]:
    """Counts of all clips."""
    clips = sorted(FOLDER.glob("*.units"))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip([clip.stem for clip in clips], pool.map(count, clips), strict=True))


def baseline() -> dict[str, Any]:
    """What `--update` wrote."""
    found: dict[str, Any] = json.loads(BASELINE.read_text())
    return found


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--update", action="store_true", help="write the baseline anew")
    update = options.parse_args().update
    before = baseline() if BASELINE.exists() else {"compiler": "", "instructions": {}}
    counts = measure()
    table = Table("clip", "instructions", "before", "change")
    worse = False
    for name, now in counts.items():
        old = before["instructions"].get(name, now)
        worse |= now > old * (1 + TOLERANCE)
        table.add_row(name, f"{now:,}", f"{old:,}", f"{100 * (now / old - 1):+.2f} %")
    Console(width=100).print(table)
    if update:
        BASELINE.write_text(json.dumps({"compiler": compiler(), "instructions": counts}, indent=1) + "\n")
        return 0
    if before["compiler"] != compiler():
        print(f"counted with {before['compiler']}, this is {compiler()}: not comparable")
        return 0
    return int(worse)


if __name__ == "__main__":
    raise SystemExit(main())
