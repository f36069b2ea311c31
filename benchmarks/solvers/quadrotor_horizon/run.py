"""A quadrotor's optimal control over growing horizons: runs every contestant and writes the results.

python benchmarks/solvers/quadrotor_horizon/run.py --rivals-python PATH
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
import problem  # noqa: E402
import referee  # noqa: E402
from harness import OURS, row  # noqa: E402

SQP, IPOPT, FATROP = "sciml, SQP", "IPOPT", "fatrop"
OWN = {OURS: "ours", SQP: "ours_sqp"}
RIVALS = {IPOPT: "rivals.ipopt_loop", FATROP: "rivals.fatrop_loop"}
SPEED_UP, FROM = 10.0, 64  # IPOPT / ours, CPU time of an instance, from this batch on
EXPONENT = 1.2  # of the CPU time as a power of the horizon
OBJECTIVE_ERROR = 1e-4  # relative, between ours and IPOPT
SLACK = 10.0  # a tolerance means another scaling to everyone: solved is this many times the tolerance, in plain units


def item_of(horizon: int, batch: int, seed: int) -> str:
    """The words for a case."""
    return f"N {horizon}, batch {batch}, seed {seed}"


def accuracy_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds."""
    batch, limit = len(data["x0"]), SLACK * problem.TOLERANCE
    solved, worst, objective, steps = {}, {}, {}, {}
    for who, report in record["contestants"].items():
        found = report["outputs"]["forward"]
        judged = [referee.residuals(data, i, *(found[k][i] for k in ("x", "u", "nu"))) for i in range(batch)]
        solved[who] = sum(one["largest"] <= limit for one in judged)
        worst[who] = {name: max(one[name] for one in judged) for name in judged[0]}
        objective[who] = np.array([referee.objective(data, i, found["x"][i], found["u"][i]) for i in range(batch)])
        steps[who] = float(np.mean(found["steps"]))
    rows = [harness.solved_row(item, f"instances solved at {limit:g}", solved, batch)]
    for part in ("defect", "bounds", "stationarity and complementarity"):
        rows.append(row(item, f"largest residual: {part}", {who: found[part] for who, found in worst.items()}))
    if IPOPT in objective:
        truth = objective[IPOPT]
        errors = {who: float(np.max(np.abs(v / truth - 1))) for who, v in objective.items() if who != IPOPT}
        rows.append(row(item, "relative difference of the objective to that of IPOPT", errors, target=OBJECTIVE_ERROR))
    rows.append(row(item, "mean objective", {who: float(np.mean(v)) for who, v in objective.items()}))
    return [*rows, row(item, "mean iterations", steps)]


def ratio_rows(item: str, batch: int, record: dict[str, Any]) -> list[dict]:
    """CPU time for an instance, and how many times faster ours is."""
    rows, per = [], {}
    for who, report in record["contestants"].items():
        per[who] = 1e3 * float(np.median(report["cpu_s"]["forward"])) / batch
    rows.append(row(item, "CPU time for an instance", per, unit="ms"))
    for who in (IPOPT, FATROP):
        names = [name for name in (OURS, SQP) if name in record["contestants"]]
        values = {name: harness.paired(record, (who, "forward"), (name, "forward")) for name in names}
        target = SPEED_UP if who == IPOPT and batch >= FROM else None
        new = row(item, f"times faster than {who}", values, target=target, better="higher")
        rows += [new] if new["value"] is not None or target is not None else []
    return rows


def exponents(rows: list[dict], batch: int, seed: int) -> list[dict]:
    """Slopes of the logarithm of CPU time over that of the horizon, of the whole solve and of an iteration."""
    values: dict[str, dict[int, dict[str, float]]] = {}
    for r in rows:
        for horizon in problem.HORIZONS:
            if r["item"] == item_of(horizon, batch, seed):
                found = {**r["rivals"], **({OURS: r["value"]} if r["value"] is not None else {})}
                values.setdefault(r["metric"], {})[horizon] = found
    times, steps = values.get("CPU time for an instance", {}), values.get("mean iterations", {})
    whole, each = {}, {}
    for who in next(iter(times.values()), {}):
        ran = [n for n in times if who in times[n]]
        if len(ran) >= 3:
            logs = np.log([[n, times[n][who], times[n][who] / steps[n][who]] for n in ran])
            whole[who], each[who] = (float(np.polyfit(logs[:, 0], logs[:, k], 1)[0]) for k in (1, 2))
    item = f"batch {batch}, seed {seed}"
    found = [row(item, "exponent of the horizon in CPU time", whole, target=EXPONENT)]
    found.append(row(item, "exponent of the horizon in CPU time for an iteration", each))
    return [r for r in found if r["value"] is not None]


def complete(args: argparse.Namespace) -> bool:
    """Whether the options leave nothing out."""
    longest, most = args.longest >= max(problem.HORIZONS), args.most >= problem.MOST_STAGES
    return {*problem.BATCHES} <= {*args.batches} and longest and most


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS, each="contestant and case")
    parser.add_argument("--batches", type=int, nargs="+", default=list(problem.BATCHES))
    parser.add_argument("--longest", type=int, default=max(problem.HORIZONS), help="longest horizon")
    parser.add_argument("--most", type=int, default=problem.MOST_STAGES, help="most stages of a batch, N times batch")
    run = harness.Run(HERE, parser, complete)
    for seed in run.args.seeds:
        for batch in run.args.batches:
            for horizon in [n for n in problem.HORIZONS if n <= run.args.longest and n * batch <= run.args.most]:
                item, data = item_of(horizon, batch, seed), problem.instance(seed, horizon, batch)
                record = run.measure(data, OWN, RIVALS)
                rows = accuracy_rows(item, data, record) + ratio_rows(item, batch, record)
                run.add(rows + harness.time_rows(item, record, {"forward": "the batch"}), record, item)
            run.add(exponents(run.rows, batch, seed), record)


if __name__ == "__main__":
    main()
