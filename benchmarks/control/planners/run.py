"""Planners against IPOPT: iterations, cost and time on a linear system, a cart-pole and two quadrotors.

python benchmarks/control/planners/run.py --rivals-python PATH
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
import ipopt  # noqa: E402
import problem  # noqa: E402
from harness import OURS, row  # noqa: E402

DDP, IPOPT = "sciml, second order", "IPOPT"
OWN, RIVALS = {OURS: "ours", DDP: "ours_ddp"}, {IPOPT: "rivals.ipopt_loop"}
COST_ERROR = 1e-6  # relative, to IPOPT started from the plan
INPUT_ERROR = 1e-8  # on the linear system, to dense linear algebra


def least_squares(case: Any, x0: np.ndarray) -> np.ndarray:
    """The exact inputs of the linear case: the residuals are affine in them."""
    scale = np.sqrt(np.concatenate([np.tile(0.5 * case.DT * case.Q, case.N), 0.5 * case.P]))
    weight = np.sqrt(np.tile(0.5 * case.DT * case.R, case.N))

    def residual(u: np.ndarray) -> np.ndarray:
        x, inputs = problem.run(case, x0, u.reshape(case.N, -1), ipopt.NUMPY), u - np.tile(case.REST, case.N)
        return np.concatenate([scale * (x - case.GOAL).ravel(), weight * inputs])

    size = case.N * len(case.U0)
    base = residual(np.zeros(size))
    slope = np.stack([residual(e) - base for e in np.eye(size)], axis=1)
    return np.linalg.lstsq(slope, -base, rcond=None)[0].reshape(case.N, -1)


def rows_of(item: str, name: str, case: Any, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds, and times."""
    solve = ipopt.solver(case)
    of = lambda x0, u: problem.cost(case, problem.run(case, x0, u, ipopt.NUMPY), u)
    solved, costs, steps, same, inputs = {}, {}, {}, {}, {}
    for who, report in record["contestants"].items():
        found = report["outputs"]["batch"]
        pairs = list(zip(data["x0"], found["u"], strict=True))
        solved[who], steps[who] = int(np.sum(found["solved"])), float(np.mean(found["steps"]))
        costs[who] = np.array([of(x0, u) for x0, u in pairs])
        if who in OWN:
            polished = np.array([of(x0, solve(x0, u)[0]) for x0, u in pairs])
            same[who] = float(np.max(np.abs(costs[who] / polished - 1)))
        if name == "lq":
            inputs[who] = float(max(np.max(np.abs(u - least_squares(case, x0))) for x0, u in pairs))
    first = {"target": 1.0} if name == "lq" else {}
    rows = [
        harness.solved_row(item, "instances solved", solved, problem.BATCH),
        row(item, "largest relative difference of the cost to IPOPT from the plan", same, target=COST_ERROR),
        row(item, "mean cost", {who: float(np.mean(v)) for who, v in costs.items()}),
        row(item, "mean iterations", steps, **first),
    ]
    if inputs:
        rows.append(row(item, "largest difference of the inputs to least squares", inputs, target=INPUT_ERROR))
    if IPOPT in costs:
        lower = {who: float(np.mean(v <= costs[IPOPT] * (1 + 1e-6))) for who, v in costs.items() if who in OWN}
        rows.append(row(item, "share of instances with a cost no higher than IPOPT's", lower, better="higher"))
        for action in ("single", "batch"):
            values = {who: harness.paired(record, (IPOPT, action), (who, action)) for who in OWN}
            words = {"single": "one instance", "batch": f"batch {problem.BATCH}"}[action]
            rows.append(row(item, f"times faster than IPOPT, {words}", values, better="higher"))
    return rows + harness.time_rows(item, record, {"single": "one instance", "batch": f"batch {problem.BATCH}"})


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
            run.add(rows_of(item, name, case, data, record), record, item)


if __name__ == "__main__":
    main()
