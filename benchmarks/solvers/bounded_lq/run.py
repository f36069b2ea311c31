"""The bounded linear-quadratic problems of acados' comparison: runs every contestant and writes the results.

python benchmarks/solvers/bounded_lq/run.py --rivals-python PATH
"""

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

QPAX, HPIPM = "qpax", "HPIPM"
OWN = {
    OURS: "ours",
    "sciml, InteriorPoint": "ours_interior_point",
    "sciml, InteriorPointQP, condensed": "ours_condensed",
}
RIVALS = {
    QPAX: "rivals.qpax_condensed",
    HPIPM: "rivals.hpipm_loop",
    "OSQP": "rivals.osqp_loop",
    "qpOASES": "rivals.qpoases_loop",
    "DAQP": "rivals.daqp_loop",
}
ACTIONS = {"forward": "forward", "both": "forward and backward"}
SPEED_UP = 5.0  # qpax / ours, CPU time
BACKWARD = 1.2  # forward and backward / forward
SLOPES = 1e-4  # relative error of derivatives
BINDING = (1.0,)  # bounds that are reached: the targets stand there


def item_of(u_max: float, seed: int) -> str:
    """The words for a case."""
    return f"u_max {u_max:g}, seed {seed}"


def slope_error(found: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> float:
    """The largest error of a derivative, relative to the largest of its matrix; only the symmetric part of H counts."""
    worst = 0.0
    for name, value in truth.items():
        other = 0.5 * (found[name] + found[name].T) if name == "H" else found[name]
        error = np.max(np.abs(other - value)) / np.max(np.abs(value))
        worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return worst


def accuracy_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds."""
    batch, found = len(data["x0"]), {who: r["outputs"] for who, r in record["contestants"].items()}
    solutions, sets = referee.exact(data, next(iter(found.values()))["forward"]["u"])
    truth = referee.sensitivities(data, solutions, sets)
    solved, worst, slopes = {}, {}, {}
    for who, outputs in found.items():
        errors = referee.errors(data, outputs["forward"]["u"], solutions)
        solved[who] = int(np.sum(errors <= problem.TOLERANCE))
        worst[who] = float(np.max(errors)) if np.all(np.isfinite(errors)) else None
        if "both" in outputs:
            slopes[who] = slope_error(outputs["both"], truth)
    rows = [harness.solved_row(item, f"instances with inputs exact to {problem.TOLERANCE:g}", solved, batch)]
    rows.append(row(item, "largest error of an input", worst))
    rows.append(row(item, "relative error of derivatives", slopes, target=SLOPES))
    return [*rows, row(item, "inputs at a bound", {OURS: 100 * float(np.mean(sets))}, unit="%")]


def ratio_rows(item: str, u_max: float, record: dict[str, Any]) -> list[dict]:
    """The ratios between contestants and between actions, and the published times."""
    rows, ran = [], record["contestants"]
    own = [name for name in OWN if name in ran]
    binding = u_max in BINDING
    for who in [name for name in RIVALS if name in ran]:
        for action, words in ACTIONS.items():
            values = {name: harness.paired(record, (who, action), (name, action)) for name in own}
            if any(value is not None for value in values.values()):
                target = SPEED_UP if (who, action) == (QPAX, "forward") and binding else None
                rows.append(row(item, f"times faster than {who}, {words}", values, target=target, better="higher"))
    both = {who: harness.paired(record, (who, "both"), (who, "forward")) for who in ran}
    rows.append(row(item, "CPU time of forward and backward / forward", both, target=BACKWARD if binding else None))
    for k, (action, words) in enumerate(ACTIONS.items()):
        cpu = {who: 1e3 * float(np.median(ran[who]["cpu_s"][action])) for who in own}
        quoted = {
            f"{who}, published ({problem.THREADS} threads)": times[k] for who, times in problem.PUBLISHED[u_max].items()
        }
        rows.append(row(item, f"time of {words}, beside published wall times", {**cpu, **quoted}, unit="ms"))
    return [r for r in rows if r["value"] is not None]


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS)
    parser.add_argument("--bounds", type=float, nargs="+", choices=problem.BOUNDS, default=list(problem.BOUNDS))
    run = harness.Run(HERE, parser, lambda args: {*problem.BOUNDS} <= {*args.bounds})
    for seed in run.args.seeds:
        for u_max in run.args.bounds:
            item, data = item_of(u_max, seed), problem.instance(seed, u_max)
            record = run.measure(data, OWN, RIVALS)
            rows = accuracy_rows(item, data, record) + ratio_rows(item, u_max, record)
            run.add(rows + harness.time_rows(item, record, ACTIONS), record, item)


if __name__ == "__main__":
    main()
