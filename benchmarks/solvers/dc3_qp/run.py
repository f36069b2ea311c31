"""The convex QP of DC3, solved and differentiated in a batch: runs every contestant and writes the results.

python benchmarks/solvers/dc3_qp/run.py --rivals-python PATH
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

MOREAU, EXPLICIT, IMPLICIT, PROXQP, OSQP = "Moreau", "qpax explicit", "qpax implicit", "ProxQP", "OSQP"
OWN = {OURS: "ours", "sciml, ADMM": "ours_admm"}
RIVALS = {
    MOREAU: "rivals.moreau_batch",
    EXPLICIT: "rivals.qpax_explicit",
    IMPLICIT: "rivals.qpax_implicit",
    PROXQP: "rivals.proxqp_loop",
    OSQP: "rivals.osqp_loop",
}
CASES = {
    "float64, shared": (MOREAU, EXPLICIT, IMPLICIT, PROXQP, OSQP),
    "float64, nothing shared": (MOREAU, EXPLICIT, PROXQP),
    "float32, shared": (EXPLICIT, IMPLICIT),
}
ACTIONS = {
    "forward": "forward",
    "both": "forward and backward",
    "backward": "backward (q, b)",
    "backward_all": "backward (every array)",
}
FORWARD, BACKWARD = 0.8, 0.5  # ours / Moreau, CPU time
SPEED_UP = 5.0  # qpax implicit / ours, float32
VIOLATION = 1e-9
OBJECTIVE_ERROR = 1e-4
SAMPLE = 50  # instances whose gradients the referee checks


def instance(case: str, seed: int, lanes: int) -> dict[str, np.ndarray]:
    """The arrays of a case."""
    data = problem.instance(seed, lanes)
    data = problem.unshared(data) if "nothing shared" in case else data
    return problem.single(data) if "float32" in case else data


def gradient_error(data: dict[str, np.ndarray], outputs: dict[str, dict[str, np.ndarray]]) -> float:
    """Largest error of the derivatives with respect to `q` and `b`, relative to their largest entry, on a sample."""
    found, slopes, worst = outputs["forward"], outputs["backward"], 0.0
    dimensions = {"Q": 2, "A": 2, "G": 2}
    for i in np.linspace(0, len(data["b"]) - 1, SAMPLE).astype(int):
        one = {name: v[i] if v.ndim > dimensions.get(name, 1) else v for name, v in data.items()}
        truth = referees.gradient(one, found["z"][i], found["ineq"][i], one["weight"])
        worst = max(worst, *(np.max(np.abs(slopes[k][i] - truth[k])) / np.max(np.abs(truth[k])) for k in truth))
    return float(worst)


def accuracy_rows(item: str, case: str, seed: int, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds, in float64 on the data that the contestants got."""
    tolerance = problem.tolerance(data)
    lanes, target = len(data["b"]), OBJECTIVE_ERROR if seed in problem.OBJECTIVE else None
    data = {name: value.astype(np.float64) for name, value in data.items()}
    solved, largest, violation, objective, slopes, steps = {}, {}, {}, {}, {}, {}
    for who, report in record["contestants"].items():
        found = {name: value.astype(np.float64) for name, value in report["outputs"]["forward"].items()}
        parts = referees.residuals(data, found["z"], found["eq"], found["ineq"])
        solved[who] = int(np.sum(parts["largest"] <= 1.01 * tolerance))
        largest[who], violation[who] = float(np.max(parts["largest"])), float(np.max(parts["violation"]))
        objective[who] = float(np.mean(referees.objective(data, found["z"])))
        if "steps" in found:
            steps[who] = float(np.max(found["steps"]))
        if "backward" in report["outputs"]:
            slopes[who] = gradient_error(data, report["outputs"])
    rows = [harness.solved_row(item, f"instances solved at {tolerance:g}", solved, lanes)]
    rows.append(row(item, "largest residual", largest))
    limit = VIOLATION if "float64" in case else None
    rows.append(row(item, "largest violation", violation, target=limit))
    if target is not None and lanes == problem.TESTED:
        errors = {who: abs(value - problem.OBJECTIVE[seed]) for who, value in objective.items()}
        rows.append(row(item, f"distance of the mean objective from {problem.OBJECTIVE[seed]}", errors, target=target))
    rows.append(row(item, "mean objective", objective))
    rows.append(row(item, "error of derivatives", slopes, target=1e-6 if "float64" in case else 1e-3))
    return [*rows, row(item, "iterations of the slowest instance", steps)]


def ratio_rows(item: str, case: str, record: dict[str, Any]) -> list[dict]:
    """The ratios to every rival; targets for those that have one."""
    rows = []
    for who in [name for name in record["contestants"] if name not in OWN]:
        for action, words in ACTIONS.items():
            ratios = {name: harness.paired(record, (name, action), (who, action)) for name in OWN}
            if ratios[OURS] is None:
                continue
            targets = {"forward": FORWARD, "backward": BACKWARD} if (who, case) == (MOREAU, "float64, shared") else {}
            rows.append(row(item, f"CPU time / that of {who}, {words}", ratios, target=targets.get(action)))
        faster = {name: harness.paired(record, (who, "forward"), (name, "forward")) for name in OWN}
        if (who, case) == (IMPLICIT, "float32, shared"):
            rows.append(row(item, f"times faster than {who}", faster, target=SPEED_UP, better="higher"))
    return rows


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--lanes", type=int, default=problem.TESTED, help="instances to test, counted from the last")
    run = harness.Run(HERE, parser, lambda args: {*CASES} <= {*args.cases} and args.lanes == problem.TESTED)
    for seed in run.args.seeds:
        for case in run.args.cases:
            item, data = f"{case}, seed {seed}", instance(case, seed, run.args.lanes)
            rivals = {who: RIVALS[who] for who in CASES[case]}
            record = run.measure(data, OWN, rivals, x64="float64" in case)
            rows = accuracy_rows(item, case, seed, data, record) + ratio_rows(item, case, record)
            run.add(rows + harness.time_rows(item, record, ACTIONS), record, item)


if __name__ == "__main__":
    main()
