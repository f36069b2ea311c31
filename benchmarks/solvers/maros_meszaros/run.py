"""The small Maros-Meszaros problems, one at a time: runs every contestant and writes the results.

    python benchmarks/solvers/maros_meszaros/run.py --rivals-python PATH

`PATH` is the Python of an environment with `rivals/requirements.txt`; without it only this library runs, and the
results go nowhere unless `--out` names a file. The data's place: see `problem.py`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import common  # noqa: E402
import problem  # noqa: E402
from common import OURS, row  # noqa: E402

COMMAND = "python benchmarks/solvers/maros_meszaros/run.py --rivals-python PATH"
MODULES = {"ProxQP": "rivals.proxqp_dense", "PIQP": "rivals.piqp_dense"}
SOLVED = 17  # of the 18, at 1e-6 in float64


def verdicts(data: dict[str, dict[str, np.ndarray]], record: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """What the referee finds, by contestant and problem."""
    return {
        who: {name: problem.judge(data[name], found["x"], found["y"]) for name, found in report["outputs"].items()}
        for who, report in record["contestants"].items()
    }


def rows_of(
    case: str, data: dict[str, dict[str, np.ndarray]], record: dict[str, Any], levels: tuple[float, ...]
) -> list[dict]:
    """The rows of one precision: rates, then every problem."""
    found, optima = verdicts(data, record), problem.optima()
    rows = []
    for level in levels:
        solved = {who: sum(v["largest"] <= level for v in judged.values()) for who, judged in found.items()}
        target = SOLVED if (case, level) == ("float64", problem.TOLERANCE) else None
        missing = {"failures": len(data) - solved.get(OURS, 0)}
        words = f"problems of {len(data)} solved at {level:g}"
        rows.append(row(case, words, solved, target=target, better="higher", **missing))
    rows += [
        row(
            f"{case}, {name}",
            "largest of primal residual, dual residual and gap",
            {who: j[name]["largest"] for who, j in found.items()},
        )
        for name in data
    ]
    for name in data:
        errors = {
            who: abs(j[name]["objective"] - optima[name]) / max(1.0, abs(optima[name])) for who, j in found.items()
        }
        rows.append(row(f"{case}, {name}", "relative error of the objective", errors))
    for name in data:
        times = {who: 1e3 * float(np.median(r["cpu_s"][name])) for who, r in record["contestants"].items()}
        rows.append(row(f"{case}, {name}", "CPU time", times, unit="ms"))
    compiles = [r["compile_s"].values() for who, r in record["contestants"].items() if who == OURS]
    if compiles:
        rows.append(
            row(case, "compile time of a problem, median", {OURS: float(np.median(list(compiles[0])))}, unit="s")
        )
    return rows


def finite(rows: list[dict]) -> list[dict]:
    """JSON has no infinity: a dash stands for it."""
    keep = lambda value: value if value is None or np.isfinite(value) else None
    return [
        {**r, "value": keep(r["value"]), "rivals": {k: v for k, v in r["rivals"].items() if np.isfinite(v)}}
        for r in rows
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals-python", help="Python of the rivals' environment")
    parser.add_argument("--names", nargs="+", help="problems (default: all small ones)")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds per contestant and problem")
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--out", type=Path, help="default, for a complete run only: results/maros_meszaros.json")
    args = parser.parse_args()
    if args.out is None and args.rivals_python and not args.names:
        args.out = HERE / "results" / "maros_meszaros.json"
    return args


def main() -> None:
    """Measure both precisions, print the targets, write the rows."""
    args = arguments()
    common.pin(args.core)
    data = problem.problems(problem.instance())
    data = {name: data[name] for name in args.names or data}
    arrays = {f"{name}.{key}": value for name, one in data.items() for key, value in one.items()}
    rows, raw = [], {}
    for case, levels in (("float64", (1e-3, 1e-6, 1e-9)), ("float32", (1e-2, 1e-4))):
        contestants = {OURS: (sys.executable, "ours")}
        if args.rivals_python and case == "float64":
            contestants.update({who: (args.rivals_python, module) for who, module in MODULES.items()})
        record = common.measure(contestants, HERE, arrays, x64=case == "float64", budget=args.budget)
        rows += finite(common.finish(rows_of(case, data, record, levels), record, COMMAND))
        common.show(rows)
        raw[case] = {**common.without_outputs(record), "verdicts": verdicts(data, record)}
        if args.out is not None:
            common.write(args.out, rows)
            common.write(args.out.parent / "raw" / args.out.name, raw)


if __name__ == "__main__":
    main()
