"""Cost of one gradient step of a closed loop: runs every contestant in its own processes and writes the results.

    python benchmarks/rollout/run.py --rivals-python PATH

`PATH` is the Python of an environment with `rivals/requirements.txt`; without it only the JAX contestants run, and the
results go nowhere unless `--out` names a file.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import harness  # noqa: E402
import problem  # noqa: E402
import referee  # noqa: E402
from harness import OURS, row  # noqa: E402

HAND, CHECKPOINTED, TORCH, NEUROMANCER = (
    "hand-written JAX", "hand-written JAX, checkpointed", "plain PyTorch", "NeuroMANCER",
)  # fmt: skip
JAX_SIDE, TORCH_SIDE = (OURS, HAND, CHECKPOINTED), (TORCH, NEUROMANCER)

TIME_TO_HAND = 1.05  # ours / hand-written JAX, CPU time per step
COMPILE_TO_HAND = 1.10  # "the same", up to the noise of a compilation
SPEED_UP = {32: 10.0}  # NeuroMANCER / ours by batch, and at the largest case:
SPEED_UP_LARGEST, MEMORY_LARGEST = 3.0, 0.1
ERROR = 1e-4  # relative, float32 against the float64 referee

Case = tuple[int, int, int]  # seed, horizon, batch


def worker(python: str, names: tuple[str, ...], instance: str, horizon: int, *extra: str) -> dict | None:
    """One fresh process of `measure.py`; None where it fails (its message goes to stderr)."""
    arguments = [python, str(HERE / "measure.py"), *names, "--instance", instance, "--horizon", str(horizon), *extra]
    env = harness.child(HERE, x64=False, NUMBA_DISABLE_JIT="1")
    done = subprocess.run(arguments, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"failed with exit status {done.returncode}: {', '.join(names)}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: Case, sides: list[tuple[str, tuple[str, ...]]], with_memory: bool) -> dict[str, Any]:
    """Everything measured on one case: by contestant, the times, the values, the memory; and the versions."""
    seed, horizon, batch = case
    instance = problem.instance(seed, batch)
    record: dict[str, Any] = {"contestants": {}, "versions": {}, "failures": []}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "instance.npz")
        np.savez(path, **instance)
        for python, names in sides:
            answer = worker(python, names, path, horizon)
            if answer is None:
                record["failures"] += names
                continue
            record["contestants"].update(answer["contestants"])
            record["versions"] = {**answer["versions"], **record["versions"]}
            for name in names if with_memory else ():
                peak = worker(python, (name,), path, horizon, "--memory")
                if peak is not None:
                    record["contestants"][name].update(peak["contestants"][name])
    record["referee"] = referee.judge(instance, horizon)
    return record


def error(values: dict[str, float], truth: dict[str, float]) -> float:
    """Largest relative error of cost, gradient norm and cost after some updates."""
    return max(abs(values[name] - truth[name]) / abs(truth[name]) for name in truth)


def paired(contestants: dict[str, dict], above: str, below: str, kind: str) -> float | None:
    """Median over the repetitions of the ratio of two contestants."""
    return harness.ratio(*(contestants.get(who, {}).get(kind, []) for who in (above, below)))


def rows_of(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one case."""
    seed, horizon, batch = case
    item = f"horizon {horizon}, batch {batch}, seed {seed}"
    found = record["contestants"]
    rows = []
    for kind, words in harness.TIMES.items():
        series = {name: r[kind] for name, r in found.items()}
        rows += harness.series_rows(item, f"{words} per gradient step", series, unit="ms")
    compiles = {name: statistics.median(r["compile_s"]) for name, r in found.items() if name in JAX_SIDE}
    rows.append(row(item, "compile time", compiles, unit="s"))
    errors = {name: error({k: r[k] for k in record["referee"]}, record["referee"]) for name, r in found.items()}
    rows.append(row(item, "relative error against the referee", errors, target=ERROR))
    for rival in (HAND, CHECKPOINTED):
        time, compilation = paired(found, OURS, rival, "cpu_s"), paired(found, OURS, rival, "compile_s")
        rows.append(row(item, f"CPU time / that of {rival}", {OURS: time}, target=TIME_TO_HAND))
        rows.append(row(item, f"compile time / that of {rival}", {OURS: compilation}, target=COMPILE_TO_HAND))
    largest = (horizon, batch) == (max(problem.HORIZONS), max(problem.BATCHES))
    for rival in (TORCH, NEUROMANCER):
        faster = paired(found, rival, OURS, "cpu_s")
        target = (SPEED_UP_LARGEST if largest else SPEED_UP.get(batch)) if rival == NEUROMANCER else None
        metric = f"times less CPU time than {rival}"
        rows.append(row(item, metric, {OURS: faster}, target=target, better="higher"))
    if largest:
        peaks = {name: r["peak_mib"] for name, r in found.items() if "peak_mib" in r}
        rows.append(row(item, "peak memory of the process", peaks, unit="MiB"))
        share = peaks[OURS] / peaks[NEUROMANCER] if {OURS, NEUROMANCER} <= set(peaks) else None
        rows.append(row(item, f"peak memory / that of {NEUROMANCER}", {OURS: share}, target=MEMORY_LARGEST))
    return [r for r in rows if r["value"] is not None or OURS in record["failures"]]


def finish(rows: list[dict], record: dict[str, Any]) -> list[dict]:
    """The rows with what they share."""
    return harness.finish(rows, record, harness.command(HERE))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals-python", help="Python of the rivals' environment")
    parser.add_argument("--horizons", type=int, nargs="+", default=list(problem.HORIZONS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(problem.BATCHES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--out", type=Path, help="default, for a complete run only: results/rollout.json")
    args = parser.parse_args()
    complete = {*problem.HORIZONS} <= {*args.horizons} and {*problem.BATCHES} <= {*args.batches} and args.rivals_python
    if args.out is None and complete:
        args.out = HERE / "results" / "rollout.json"
    return args


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    args = arguments()
    harness.pin(args.core)
    sides = [(sys.executable, JAX_SIDE)]
    if args.rivals_python:
        sides.append((args.rivals_python, TORCH_SIDE))
    rows, raw = [], {}
    for case in itertools.product(args.seeds, args.horizons, args.batches):
        largest = case[1:] == (max(problem.HORIZONS), max(problem.BATCHES))
        record = measure(case, sides, with_memory=largest)
        raw["seed {}, horizon {}, batch {}".format(*case)] = record
        new = finish(rows_of(case, record), record)
        rows += new
        harness.show(new)
        if args.out is not None:
            harness.write(args.out, rows)
            harness.write(args.out.parent / "raw" / args.out.name, raw)


if __name__ == "__main__":
    main()
