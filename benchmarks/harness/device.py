"""Cases on whatever device JAX sees: one process for each question, wall times, answers judged as everywhere.

    python -m harness.device FOLDER SECONDS [--small]      # by `benchmarks/on_device.py`; rows in JSON lines

A question declares them in its `device.py`, with a function `cases(small) -> list[Case]`, the most telling first. It
imports NumPy alone; what imports JAX is named as a module.
"""

import argparse
import importlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from harness import environment, rows as results

COMMAND = "python benchmarks/on_device.py"
REPETITIONS, FEWEST = 11, 3
SHARE = 0.1  # of a question's time: what the repetitions of one action may take

Arrays = dict[str, np.ndarray]
Outputs = dict[str, dict[str, Arrays]]
"""Of every contestant, by action."""


class Case(NamedTuple):
    """One item of a question."""

    item: str
    data: Callable[[], Arrays]
    contestants: dict[str, str]
    """The module of each, by name; ours first. They need this library's own packages only."""
    actions: dict[str, str]
    """Those that are timed, and what rows call them."""
    judge: Callable[[str, Arrays, Outputs], list[results.Row]]
    """`(item, data, outputs) -> rows`, by the question's referee."""
    prepare: Callable[[ModuleType, Arrays], tuple[dict[str, Any], dict[str, float]]] = lambda m, data: m.prepare(data)
    """Actions and compile times of a contestant, as `worker.py` says."""
    x64: bool = True


def name_of(device: Any) -> str:
    """The device in words."""
    return results.cpu(f"{os.cpu_count()} cores") if device.platform == "cpu" else device.device_kind


def file_name(words: str) -> str:
    """Of the rows on a device: one file for each kind."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") + ".json"


def attempt(case: Case, module: str, data: Arrays, until: float, budget: float) -> tuple[dict[str, Any], Any]:
    """Times of one contestant, and its arrays by action; repetitions end when the time does."""
    actions, compile_s = case.prepare(importlib.import_module(module), data)
    report: dict[str, Any] = {"compile_s": compile_s, "wall_s": {}}
    outputs = {
        action: {name: np.asarray(value) for name, value in actions[action]().items()} for action in case.actions
    }
    for action in case.actions:
        times: list[float] = []
        while len(times) < REPETITIONS and (len(times) < FEWEST or sum(times) < budget):
            if times and time.monotonic() > until:
                break
            begin = time.perf_counter()
            actions[action]()
            times.append(time.perf_counter() - begin)
        report["wall_s"][action] = times
    return report, outputs


def rows_of(case: Case, item: str, data: Arrays, record: results.Record, outputs: Outputs) -> list[results.Row]:
    """What the judge says, wall times with quartiles, compile times."""
    rows = results.finite(case.judge(item, data, outputs)) if outputs else []
    for action, words in case.actions.items():
        rows += results.quantile_rows(item, words, record, action, "wall_s")
        compiles = {who: r["compile_s"][action] for who, r in record["contestants"].items() if action in r["compile_s"]}
        rows.append(results.row(item, f"compile time of {words}", compiles, unit="s"))
    return [r for r in rows if r["value"] is not None or r["rivals"]]


def run(cases: list[Case], seconds: float) -> Iterator[dict[str, Any]]:
    """After each contestant, all rows of its case so far; before, what runs now. It ends when the time does."""
    import jax

    begin, words = time.monotonic(), name_of(jax.devices()[0])
    until = begin + seconds
    yield {"device": words, "said": f"{words}; cases: {len(cases)}; seconds: {seconds:.0f}"}
    for case in cases:
        jax.config.update("jax_enable_x64", case.x64)
        item, data = f"{case.item}, {words}", case.data()
        record: results.Record = {"contestants": {}, "failures": []}
        outputs: Outputs = {}
        for who, module in case.contestants.items():
            if time.monotonic() > until:
                yield {"said": f"left out, no time: {case.item}, {who}"}
                continue
            try:
                record["contestants"][who], outputs[who] = attempt(case, module, data, until, SHARE * seconds)
            except Exception:  # whatever goes wrong on a device is a failure, not the end of the run
                traceback.print_exc()
                record["failures"].append(who)
            record["versions"] = environment.versions()
            rows = results.finish(rows_of(case, item, data, record, outputs), record, COMMAND, words)
            yield {"rows": rows, "said": f"{time.monotonic() - begin:.0f} s: {case.item}, {who}"}
        jax.clear_caches()


def main() -> None:
    """One question in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--list", action="store_true", help="name the cases, run none")
    args = parser.parse_args()
    replies, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not mix with the replies
    cases = importlib.import_module("device").cases(args.small)
    if args.list:
        kept = ("item", "contestants", "actions", "x64")
        print(json.dumps([{name: getattr(case, name) for name in kept} for case in cases]), file=replies)
        return
    for event in run(cases, args.seconds):
        print(json.dumps(event), file=replies, flush=True)


if __name__ == "__main__":
    main()
