"""What JAX's persistent compilation cache saves: the start notebooks as scripts, each run in a process of its own.

    python benchmarks/compile_cache/run.py [NOTEBOOK ...]

Prints CPU and wall seconds of a process without a cache, of one that fills an empty cache, and of one that finds it
full; a row for each notebook. Everything counts: starting Python, importing, tracing, compiling, computing.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Functions that take less than a second to compile are not kept by default; most here are of that kind.
KEEP = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def script(notebook: Path) -> str:
    """The notebook's code, without the commands of IPython that install packages."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^( *)%.*$", r"\1pass", code, flags=re.MULTILINE)


def run(code: str, cache: str | None) -> tuple[float, float]:
    """CPU and wall seconds of a process that executes `code`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env |= {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    if cache:
        env |= {"JAX_COMPILATION_CACHE_DIR": cache, KEEP: "0"}
    with tempfile.TemporaryDirectory() as folder:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-"], input=code, text=True, cwd=folder, env=env, check=True, capture_output=True
        )
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    """Measure and print."""
    named = [Path(name) for name in sys.argv[1:]]
    print("| CPU s (wall s) | no cache | empty cache | full cache | size |\n|---|---|---|---|---|")
    for notebook in named or sorted((ROOT / "notebooks" / "start").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as cache:
            times = [run(script(notebook), where) for where in (None, cache, cache)]
            size = sum(path.stat().st_size for path in Path(cache).iterdir()) / 1e6
        row = [f"{cpu:.1f} ({wall:.1f})" for cpu, wall in times]
        print(f"| {notebook.stem} | {' | '.join(row)} | {size:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
