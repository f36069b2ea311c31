"""Cost of one gradient step of a closed loop: runs every contestant in its own processes and writes the results.

    python benchmarks/rollout/run.py --rivals-python PATH

`PATH` is the Python of an environment with `rivals/requirements.txt`; without it only the JAX contestants run, and the
results go nowhere unless `--out` names a file.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import problem
import referee

HERE = Path(__file__).resolve().parent
OURS, HAND, CHECKPOINTED, TORCH, NEUROMANCER = (
    "sciml", "hand-written JAX", "hand-written JAX, checkpointed", "plain PyTorch", "NeuroMANCER",
)  # fmt: skip
JAX_SIDE, TORCH_SIDE = (OURS, HAND, CHECKPOINTED), (TORCH, NEUROMANCER)
COMMAND = "python benchmarks/rollout/run.py --rivals-python PATH"
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "0",
    "NUMBA_DISABLE_JIT": "1",
}

TIME_TO_HAND = 1.05  # ours / hand-written JAX, CPU time per step
COMPILE_TO_HAND = 1.10  # "the same", up to the noise of a compilation
SPEED_UP = {32: 10.0}  # NeuroMANCER / ours by batch, and at the largest case:
SPEED_UP_LARGEST, MEMORY_LARGEST = 3.0, 0.1
ERROR = 1e-4  # relative, float32 against the float64 referee

Case = tuple[int, int, int]  # seed, horizon, batch


def worker(python: str, names: tuple[str, ...], instance: str, horizon: int, *extra: str) -> dict | None:
    """One fresh process of `measure.py`; None where it fails (its message goes to stderr)."""
    arguments = [python, str(HERE / "measure.py"), *names, "--instance", instance, "--horizon", str(horizon), *extra]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        arguments, env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=False
    )
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
    if above not in contestants or below not in contestants:
        return None
    return statistics.median(a / b for a, b in zip(contestants[above][kind], contestants[below][kind], strict=False))


def _row(item: str, metric: str, unit: str, values: dict[str, float | None], **rest: Any) -> dict[str, Any]:
    rivals = {name: value for name, value in values.items() if name != OURS and value is not None}
    row = {"item": item, "metric": metric, "value": values.get(OURS), "unit": unit, "target": None, "better": "lower"}
    return {**row, "rivals": rivals, **rest}


def rows_of(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one case."""
    seed, horizon, batch = case
    item = f"horizon {horizon}, batch {batch}, seed {seed}"
    found = record["contestants"]
    rows = []
    for metric, kind in (("CPU time per gradient step", "cpu_s"), ("wall time per gradient step", "wall_s")):
        for label, share in (("", 0.5), (", lower quartile", 0.25), (", upper quartile", 0.75)):
            values = {name: 1e3 * float(np.quantile(r[kind], share)) for name, r in found.items()}
            rows.append(_row(item, metric + label, "ms", values))
    compiles = {name: statistics.median(r["compile_s"]) for name, r in found.items() if name in JAX_SIDE}
    rows.append(_row(item, "compile time", "s", compiles))
    errors = {name: error({k: r[k] for k in record["referee"]}, record["referee"]) for name, r in found.items()}
    rows.append(_row(item, "relative error against the referee", "1", errors, target=ERROR))
    for rival in (HAND, CHECKPOINTED):
        time, compilation = paired(found, OURS, rival, "cpu_s"), paired(found, OURS, rival, "compile_s")
        rows.append(_row(item, f"CPU time / that of {rival}", "1", {OURS: time}, target=TIME_TO_HAND))
        rows.append(_row(item, f"compile time / that of {rival}", "1", {OURS: compilation}, target=COMPILE_TO_HAND))
    largest = (horizon, batch) == (max(problem.HORIZONS), max(problem.BATCHES))
    for rival in (TORCH, NEUROMANCER):
        faster = paired(found, rival, OURS, "cpu_s")
        target = (SPEED_UP_LARGEST if largest else SPEED_UP.get(batch)) if rival == NEUROMANCER else None
        metric = f"times less CPU time than {rival}"
        rows.append(_row(item, metric, "1", {OURS: faster}, target=target, better="higher"))
    if largest:
        peaks = {name: r["peak_mib"] for name, r in found.items() if "peak_mib" in r}
        rows.append(_row(item, "peak memory of the process", "MiB", peaks))
        share = peaks[OURS] / peaks[NEUROMANCER] if {OURS, NEUROMANCER} <= set(peaks) else None
        rows.append(_row(item, f"peak memory / that of {NEUROMANCER}", "1", {OURS: share}, target=MEMORY_LARGEST))
    return [row for row in rows if row["value"] is not None or OURS in record["failures"]]


def finish(rows: list[dict], record: dict[str, Any]) -> list[dict]:
    """The rows with what they share."""
    common = {
        "failures": len(record["failures"]),
        "versions": record["versions"],
        "device": f"{platform.machine().replace('_', '-')} CPU, 1 thread",
        "date": datetime.date.today().isoformat(),
        "command": COMMAND,
    }
    return [{**row, **common} for row in rows]


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
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if args.core is None else args.core})
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
        for row in new:
            if row["target"] is not None:
                print(f"{row['item']}: {row['metric']} {row['value']} (target {row['target']:g})", flush=True)
        if args.out is not None:
            write(args.out, rows)
            write(args.out.parent / "raw" / args.out.name, raw)


def write(path: Path, content: Any) -> None:
    """JSON under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
