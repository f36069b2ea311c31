"""Batches of random dense QPs in which nothing is shared: runs every contestant and writes the results.

python benchmarks/solvers/dense_qp/run.py --rivals-python PATH
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
import problem  # noqa: E402
from harness import OURS, referees, row  # noqa: E402

EXPLICIT, IMPLICIT, PROXQP = "qpax explicit", "qpax implicit", "ProxQP"
OWN = {OURS: "ours"}
RIVALS = {EXPLICIT: "rivals.qpax_explicit", IMPLICIT: "rivals.qpax_implicit", PROXQP: "rivals.proxqp_batch"}
SPEED_UP, SPEED_UP_ONE = 3.0, 1.0  # the faster qpax / ours: from batch 32 on, and at batch 1
FROM = 32


def rows_of(item: str, batch: int, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """The rows of one case."""
    solved, largest = {}, {}
    for who, report in record["contestants"].items():
        found = report["outputs"]["forward"]
        residual = referees.residuals(data, found["z"], found["eq"], found["ineq"])["largest"]
        solved[who], largest[who] = int(np.sum(residual <= 1.01 * problem.TOLERANCE)), float(np.max(residual))
    rows = [harness.solved_row(item, f"instances solved at {problem.TOLERANCE:g}", solved, batch)]
    rows.append(row(item, "largest residual", largest))
    ratios = {who: harness.paired(record, (who, "forward"), (OURS, "forward")) for who in (EXPLICIT, IMPLICIT, PROXQP)}
    qpax = [ratios[who] for who in (EXPLICIT, IMPLICIT) if ratios[who] is not None]
    target = SPEED_UP if batch >= FROM else SPEED_UP_ONE if batch == 1 else None
    rows.append(
        row(item, "times faster than the faster qpax", {OURS: min(qpax, default=None)}, target=target, better="higher")
    )
    rows.append(row(item, f"times faster than {PROXQP}", {OURS: ratios[PROXQP]}, better="higher"))
    rows = [r for r in rows if r["value"] is not None or r["target"] is not None]
    return rows + harness.time_rows(item, record, {"forward": "the batch"})


def crossover(rows: list[dict], n: int, seed: int) -> float | None:
    """The smallest batch from which on ours is faster than ProxQP; None where there is none."""
    metric, found = f"times faster than {PROXQP}", None
    for batch in sorted(problem.BATCHES[n], reverse=True):
        values = [r["value"] for r in rows if r["metric"] == metric and r["item"] == item_of(n, batch, seed)]
        if values and values[0] < 1.0:
            break
        found = batch if values else found
    return found


def item_of(n: int, batch: int, seed: int) -> str:
    """The words for a case."""
    return f"n = {n}, batch {batch}, seed {seed}"


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS, each="contestant and case")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(problem.SIZES))
    parser.add_argument("--largest", type=int, default=4096, help="largest batch")
    run = harness.Run(HERE, parser, lambda args: {*problem.SIZES} <= {*args.sizes} and args.largest >= 4096)
    for seed in run.args.seeds:
        for n in run.args.sizes:
            for batch in [b for b in problem.BATCHES[n] if b <= run.args.largest]:
                item, data = item_of(n, batch, seed), problem.instance(seed, n, batch)
                record = run.measure(data, OWN, RIVALS)
                run.add(rows_of(item, batch, data, record), record, item)
            if run.args.rivals_python:
                first, metric = crossover(run.rows, n, seed), f"batch from which faster than {PROXQP}"
                run.add([row(f"n = {n}, seed {seed}", metric, {OURS: first})], record)


if __name__ == "__main__":
    main()
