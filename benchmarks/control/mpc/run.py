"""Closed loops of predictive control against IPOPT: the same trajectories, and how many loops a second.

python benchmarks/control/mpc/run.py --rivals-python PATH
"""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import harness  # noqa: E402
import problem  # noqa: E402
from harness import OURS, row  # noqa: E402

REAL_TIME, IPOPT = "sciml, real-time iteration", "IPOPT"
OWN, RIVALS = {OURS: "ours", REAL_TIME: "ours_real_time"}, {IPOPT: "rivals.ipopt_loops"}
NUMPY = SimpleNamespace(sin=np.sin, cos=np.cos, stack=np.array, parts=list)
SAME = 1e-5  # largest difference of states between two closed loops
FASTER = 10.0  # closed loops a CPU second, against IPOPT


def rows_of(item: str, case: Any, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds, and times."""
    states, costs, failed, steps, excess = {}, {}, {}, {}, {}
    for who, report in record["contestants"].items():
        found = report["outputs"]["batch"]
        loops = list(zip(data["x0"], found["u"], strict=False))
        states[who] = np.stack([problem.run(case, x0, u, NUMPY) for x0, u in loops])
        costs[who] = [problem.cost(case, x, u) for x, (_, u) in zip(states[who], loops, strict=True)]
        failed[who] = float(np.mean(found["failed"]))
        steps[who] = float(np.mean(found["steps"]))
        beyond = np.maximum(case.X_LOWER - states[who][:, 1:], states[who][:, 1:] - case.X_UPPER)
        excess[who] = float(np.max(np.maximum(beyond, 0.0)))
    rows = [
        row(item, "share of steps without a usable answer", failed, target=0.0),
        row(item, "mean iterations of a step", steps),
        row(item, "largest violation of a bound on states, closed loop", excess),
    ]
    if IPOPT in states:
        few = problem.LOOPS
        same = {who: float(np.max(np.abs(states[who][:few] - states[IPOPT]))) for who in OWN if who in states}
        rows.append(row(item, "largest difference of the states to IPOPT's loops", same, target=SAME))
        worse = {who: float(np.mean(costs[who][:few]) / np.mean(costs[IPOPT])) for who in OWN if who in costs}
        rows.append(row(item, "cost of the closed loop over that of IPOPT's", worse))
        once = {who: harness.paired(record, (IPOPT, "loop"), (who, "loop")) for who in OWN}
        rows.append(row(item, "times faster than IPOPT, one closed loop", once, better="higher"))
        many = {who: harness.paired(record, (IPOPT, "batch"), (who, "batch")) for who in OWN}
        many = {who: None if v is None else v * problem.BATCH / few for who, v in many.items()}
        rows.append(row(item, f"times faster than IPOPT, batch {problem.BATCH}", many, better="higher", target=FASTER))
    count = lambda who: (problem.LOOPS if who == IPOPT else problem.BATCH) * problem.STEPS
    rows += harness.quantile_rows(
        item, "one step of one loop", record, "loop", "wall_s", count=lambda who: problem.STEPS
    )
    rows += harness.quantile_rows(
        item, f"one step of {problem.BATCH} loops, each", record, "batch", "wall_s", count=count
    )
    compiles = {who: r["compile_s"]["batch"] for who, r in record["contestants"].items() if "batch" in r["compile_s"]}
    return [*rows, row(item, "compile time of the batch, CPU", compiles, unit="s")]


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS)
    parser.add_argument("--cases", nargs="+", choices=problem.CASES, default=list(problem.CASES))
    run = harness.Run(HERE, parser, lambda args: {*problem.CASES} <= {*args.cases})
    for seed in run.args.seeds:
        for name in run.args.cases:
            case = importlib.import_module(f"cases.{name}")
            item, data = f"{name.replace('_', ' ')}, seed {seed}", problem.instance(case, seed)
            record = run.measure(data, OWN, RIVALS, case=name)
            run.add(rows_of(item, case, data, record), record, item)


if __name__ == "__main__":
    main()
