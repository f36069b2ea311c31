"""What do a few slow instances cost the rest of a batch? Runs both contestants on two seeds and writes the results.

    python benchmarks/solvers/slots/run.py

A complete run writes `results/slots.json`; with other seeds or another number of instances it only prints.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
from harness import OURS, row  # noqa: E402

RIVAL = "vmap of solve"
FASTER, FASTER_WITH_COMPILATION = 3.0, 1.5
DIFFERENCE = 1e-10  # relative, between the answers of both
RESIDUAL = 1e-6  # what the solver accepts where rounding stops it (`stall_tol`); stiff instances need it


def measure(seed: int, count: int) -> dict[str, Any]:
    """Everything measured on one seed, in a fresh process."""
    arguments = [sys.executable, str(HERE / "measure.py"), "--seed", str(seed), "--count", str(count)]
    done = subprocess.run(arguments, env=harness.child(HERE), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(item: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one seed."""
    found, facts = record["contestants"], record["facts"]
    of = lambda kind: {who: report[kind] for who, report in found.items()}
    rows = []
    for kind, metric in harness.TIMES.items():
        rows += harness.series_rows(item, metric, of(kind), unit="s")
    first = {who: statistics.median(times) for who, times in of("first_cpu_s").items()}
    rows.append(row(item, "CPU time of the first call, compilation included", first, unit="s"))
    faster = lambda kind: {OURS: harness.ratio(found[RIVAL][kind], found[OURS][kind])}
    metric = "times less CPU time than vmap"
    rows.append(row(item, metric, faster("cpu_s"), target=FASTER, better="higher"))
    metric = "times less CPU time than vmap, compilation included"
    rows.append(row(item, metric, faster("first_cpu_s"), target=FASTER_WITH_COMPILATION, better="higher"))
    beside = lambda kind: {OURS: facts[kind], "vmap in chunks": facts["floor"][kind]}
    metric = "largest relative difference to the answer of vmap"
    rows.append(row(item, metric, beside("difference"), target=DIFFERENCE))
    rows.append(row(item, "instances with another number of iterations than vmap", beside("other_steps")))
    rows.append(row(item, "largest KKT residual, by the referee", of("residual"), target=RESIDUAL))
    rows.append(row(item, "median iterations", {OURS: facts["median_steps"]}))
    rows.append(row(item, "most iterations", {OURS: facts["most_steps"]}))
    slow = {OURS: 100 * facts["slow_share"]}
    return [*rows, row(item, "instances with at least ten times the median", slow, unit="%")]


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
            **harness.origin(record["versions"], harness.command(HERE, rivals=False)),
            "failures": record["contestants"][OURS]["failures"],
        }
        rows += [{**new, **common} for new in rows_of(f"{args.count} instances, seed {seed}", record)]
        for new in rows[-13:]:
            print(f"{new['item']}: {new['metric']} {new['value']} {new['rivals']} (target {new['target']})", flush=True)
    if args.out is not None:
        harness.write(args.out, rows)
        harness.write(args.out.parent / "raw" / args.out.name, raw)


if __name__ == "__main__":
    main()
