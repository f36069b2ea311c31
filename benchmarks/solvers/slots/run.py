"""What do a few slow instances cost the rest of a batch? Runs both contestants on two seeds and writes the results.

    python benchmarks/solvers/slots/run.py

A complete run writes `results/slots.json`; with other seeds or another number of instances it only prints.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OURS, RIVAL = "sciml", "vmap of solve"
COMMAND = "python benchmarks/solvers/slots/run.py"
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}

FASTER, FASTER_WITH_COMPILATION = 3.0, 1.5
DIFFERENCE = 1e-10  # relative, between the answers of both
RESIDUAL = 1e-6  # what the solver accepts where rounding stops it (`stall_tol`); stiff instances need it


def measure(seed: int, count: int) -> dict[str, Any]:
    """Everything measured on one seed, in a fresh process."""
    arguments = [sys.executable, str(HERE / "measure.py"), "--seed", str(seed), "--count", str(count)]
    env = {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}
    done = subprocess.run(arguments, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def paired(contestants: dict[str, dict], kind: str) -> float:
    """Median over the repetitions of how many times longer the rival takes."""
    return statistics.median(a / b for a, b in zip(contestants[RIVAL][kind], contestants[OURS][kind], strict=True))


def _row(
    item: str, metric: str, unit: str, value: float, rivals: dict[str, float] | None = None, **rest: Any
) -> dict[str, Any]:
    row = {"item": item, "metric": metric, "value": value, "unit": unit, "target": None, "better": "lower"}
    return {**row, "rivals": rivals or {}, **rest}


def rows_of(item: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one seed."""
    found, facts = record["contestants"], record["facts"]
    ours, rival = found[OURS], found[RIVAL]
    rows = []
    for metric, kind in (("CPU time", "cpu_s"), ("wall time", "wall_s")):
        for label, share in (("", 0.5), (", lower quartile", 0.25), (", upper quartile", 0.75)):
            value, other = (float(np.quantile(r[kind], share)) for r in (ours, rival))
            rows.append(_row(item, metric + label, "s", value, {RIVAL: other}))
    first = [statistics.median(r["first_cpu_s"]) for r in (ours, rival)]
    rows.append(_row(item, "CPU time of the first call, compilation included", "s", first[0], {RIVAL: first[1]}))
    faster = {"better": "higher"}
    metric = "times less CPU time than vmap"
    rows.append(_row(item, metric, "1", paired(found, "cpu_s"), target=FASTER, **faster))
    metric = "times less CPU time than vmap, compilation included"
    rows.append(_row(item, metric, "1", paired(found, "first_cpu_s"), target=FASTER_WITH_COMPILATION, **faster))
    floor = facts["floor"]
    metric = "largest relative difference to the answer of vmap"
    chunked = "vmap in chunks"
    rows.append(_row(item, metric, "1", facts["difference"], {chunked: floor["difference"]}, target=DIFFERENCE))
    metric = "instances with another number of iterations than vmap"
    rows.append(_row(item, metric, "1", facts["other_steps"], {chunked: floor["other_steps"]}))
    metric = "largest KKT residual, by the referee"
    rows.append(_row(item, metric, "1", ours["residual"], {RIVAL: rival["residual"]}, target=RESIDUAL))
    rows.append(_row(item, "median iterations", "1", facts["median_steps"]))
    rows.append(_row(item, "most iterations", "1", facts["most_steps"]))
    rows.append(_row(item, "instances with at least ten times the median", "%", 100 * facts["slow_share"]))
    return rows


def main() -> None:
    """Measure the seeds, print the targets, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--count", type=int, default=10_000, help="instances; results are written for the default only")
    parser.add_argument("--out", type=Path, help="default, for a complete run only: results/slots.json")
    args = parser.parse_args()
    if args.out is None and args.count == 10_000 and {0, 1} <= {*args.seeds}:
        args.out = HERE / "results" / "slots.json"
    rows, raw = [], {}
    for seed in args.seeds:
        record = measure(seed, args.count)
        raw[f"seed {seed}"] = record
        common = {
            "failures": record["contestants"][OURS]["failures"],
            "versions": record["versions"],
            "device": f"{platform.machine().replace('_', '-')} CPU, 1 thread",
            "date": datetime.date.today().isoformat(),
            "command": COMMAND,
        }
        rows += [{**row, **common} for row in rows_of(f"{args.count} instances, seed {seed}", record)]
        for row in rows[-13:]:
            print(f"{row['item']}: {row['metric']} {row['value']} {row['rivals']} (target {row['target']})", flush=True)
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
