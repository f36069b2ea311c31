"""The cases of all questions that an accelerator is for, on whatever device JAX sees, in eight minutes at most.

    python benchmarks/on_device.py

It needs this library and a `jax` for the device, nothing else. Rows are stored after each case, in
`benchmarks/TASK/QUESTION/results/on_device/DEVICE.json`, in the place of older ones of the same device, and
`benchmarks/report.py` prints them. Questions share the time; what one leaves is the others'. What there is no time for
is left out, aloud. `--small` is for trying the command: rows of small instances go nowhere without `--out`.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import environment, storing  # noqa: E402
from harness.device import file_name  # noqa: E402

MINUTES = 8.0


def questions() -> dict[str, Path]:
    """The folders of all questions with a `device.py`, by their names."""
    found = sorted(path.parent for path in HERE.glob("**/device.py") if path.parent.name != "harness")
    return {folder.name: folder for folder in found}


def process(folder: Path, seconds: float, *options: str) -> subprocess.Popen:
    """The question in a process of its own: as many threads and whatever device there is."""
    paths = os.pathsep.join(environment.paths(folder))
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "harness.device", str(folder), f"{seconds:.1f}", *options]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE)


def events(folder: Path, seconds: float, *options: str) -> Iterator[dict[str, Any]]:
    """What the process reports until it ends or its time does, when it is ended."""
    until, waiting = time.monotonic() + seconds, b""
    with process(folder, seconds, *options) as running, selectors.DefaultSelector() as selector:
        selector.register(running.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0 and selector.select(left):
            piece = os.read(running.stdout.fileno(), 1 << 20)
            *lines, waiting = (waiting + piece).split(b"\n")
            yield from map(json.loads, lines)
            if not piece:
                break
        else:
            yield {"said": f"ended after {seconds:.1f} s"}
        running.kill()
    if running.returncode > 0:
        yield {"said": f"FAILED with exit status {running.returncode}", "failed": True}


def answer(folder: Path, seconds: float, place: Path | None, *options: str) -> bool:
    """One question: its progress printed, its rows stored as they come; whether it ran to an end of its own."""
    device, good = "unknown", True
    for event in events(folder, seconds, *options):
        device, good = event.get("device", device), good and not event.get("failed", False)
        print(f"{folder.name}: {event['said']}", flush=True)
        for row in event.get("rows", ()):
            if "quartile" not in row["metric"] and row["value"] is not None:
                rivals = "".join(f"; {who} {value:.4g}" for who, value in row["rivals"].items())
                print(f"    {row['metric']}: {row['value']:.4g} {row['unit']}{rivals}", flush=True)
        if place is not None and event.get("rows"):
            storing.merge(place / file_name(device), event["rows"])
    return good


def main(argv: list[str] | None = None) -> int:
    """All questions; the exit status is 1 where one of them could not run."""
    found = questions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all, default %(default)g")
    parser.add_argument("--questions", nargs="+", choices=found, default=list(found), help=", ".join(found))
    parser.add_argument("--small", action="store_true", help="small instances, to try the command")
    parser.add_argument("--out", type=Path, help="folder: rows go to OUT/QUESTION/DEVICE.json instead")
    args = parser.parse_args(argv)
    begin, good = time.monotonic(), True
    for k, name in enumerate(args.questions):
        left = 60 * args.minutes - (time.monotonic() - begin)
        folder, place = found[name], None
        if args.out is not None:
            place = args.out / name
        elif not args.small:
            place = folder / "results" / "on_device"
        good &= answer(folder, left / (len(args.questions) - k), place, *["--small"] * args.small)
    print(f"{time.monotonic() - begin:.0f} s in all; commit {environment.commit()}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
