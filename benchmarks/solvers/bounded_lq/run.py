"""The bounded linear-quadratic problems of acados' comparison: runs every contestant and writes the results.

    python benchmarks/solvers/bounded_lq/run.py --rivals-python PATH

`PATH` is the Python of an environment with `rivals/requirements.txt`; without it only this library runs, and the
results go nowhere unless `--out` names a file.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import common  # noqa: E402
import problem  # noqa: E402
import referee  # noqa: E402
from common import OURS, row  # noqa: E402

COMMAND = "python benchmarks/solvers/bounded_lq/run.py --rivals-python PATH"
QPAX, HPIPM = "qpax", "HPIPM"
OWN = {
    OURS: "ours",
    "sciml, InteriorPoint": "ours_interior_point",
    "sciml, InteriorPointQP, condensed": "ours_condensed",
}
MODULES = {
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
    missing = {"failures": batch - solved.get(OURS, 0)}
    words = f"instances with inputs exact to {problem.TOLERANCE:g}"
    rows = [row(item, words, solved, target=batch, better="higher", **missing)]
    rows.append(row(item, "largest error of an input", worst))
    rows.append(row(item, "relative error of derivatives", slopes, target=SLOPES))
    return [*rows, row(item, "inputs at a bound", {OURS: 100 * float(np.mean(sets))}, unit="%")]


def ratio_rows(item: str, u_max: float, record: dict[str, Any]) -> list[dict]:
    """The ratios between contestants and between actions, and the published times."""
    rows, ran = [], record["contestants"]
    own = [name for name in OWN if name in ran]
    binding = u_max in BINDING
    for who in [name for name in MODULES if name in ran]:
        for action, words in ACTIONS.items():
            values = {name: common.paired(record, (who, action), (name, action)) for name in own}
            if any(value is not None for value in values.values()):
                target = SPEED_UP if (who, action) == (QPAX, "forward") and binding else None
                rows.append(row(item, f"times faster than {who}, {words}", values, target=target, better="higher"))
    both = {who: common.paired(record, (who, "both"), (who, "forward")) for who in ran}
    rows.append(row(item, "CPU time of forward and backward / forward", both, target=BACKWARD if binding else None))
    for k, (action, words) in enumerate(ACTIONS.items()):
        cpu = {who: 1e3 * float(np.median(ran[who]["cpu_s"][action])) for who in own}
        quoted = {
            f"{who}, published ({problem.THREADS} threads)": times[k] for who, times in problem.PUBLISHED[u_max].items()
        }
        rows.append(row(item, f"time of {words}, beside published wall times", {**cpu, **quoted}, unit="ms"))
    return [r for r in rows if r["value"] is not None]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals-python", help="Python of the rivals' environment")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(problem.SEEDS))
    parser.add_argument("--bounds", type=float, nargs="+", choices=problem.BOUNDS, default=list(problem.BOUNDS))
    parser.add_argument("--budget", type=float, default=common.BUDGET, help="seconds per contestant and action")
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--out", type=Path, help="default, for a complete run only: results/bounded_lq.json")
    args = parser.parse_args()
    complete = {*problem.BOUNDS} <= {*args.bounds} and {*problem.SEEDS} <= {*args.seeds}
    if args.out is None and complete and args.rivals_python:
        args.out = HERE / "results" / "bounded_lq.json"
    return args


def main() -> None:
    """Measure all cases, print the targets, write the rows."""
    args = arguments()
    common.pin(args.core)
    rows, raw = [], {}
    for seed in args.seeds:
        for u_max in args.bounds:
            item, data = item_of(u_max, seed), problem.instance(seed, u_max)
            contestants = {who: (sys.executable, module) for who, module in OWN.items()}
            if args.rivals_python:
                contestants.update({who: (args.rivals_python, module) for who, module in MODULES.items()})
            record = common.measure(contestants, HERE, data, budget=args.budget)
            new = accuracy_rows(item, data, record) + ratio_rows(item, u_max, record)
            new = common.finish(new + common.time_rows(item, record, ACTIONS), record, COMMAND)
            common.show(new)
            rows += new
            raw[item] = common.without_outputs(record)
            if args.out is not None:
                common.write(args.out, rows)
                common.write(args.out.parent / "raw" / args.out.name, raw)


if __name__ == "__main__":
    main()
