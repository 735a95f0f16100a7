"""Instructions of the native core per clip: a slower version shows on a busy machine, where times say nothing.

    python -m tests.native.instructions            compares with instructions.json
    python -m tests.native.instructions --update   writes it anew: the reason belongs into the commit

callgrind counts what is executed inside `ovbits_parse` of the installed library, with whatever it calls. The counts
belong to one compiler: with another one there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import ovstream._native

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
FOLDER = HERE / "clips"
TOLERANCE = 0.03
"""What a change may cost without a word."""

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
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=ovbits_parse"]
    done = subprocess.run(
        [*valgrind, sys.executable, "-I", "-S", "-c", _CHILD, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr)
    return int(found[1])


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
