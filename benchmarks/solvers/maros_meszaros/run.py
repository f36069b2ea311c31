"""The small Maros-Meszaros problems, one at a time: runs every contestant and writes the results.

    python benchmarks/solvers/maros_meszaros/run.py --rivals-python PATH

The data's place: see `problem.py`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
import problem  # noqa: E402
from harness import OURS, row  # noqa: E402

OWN = {OURS: "ours"}
RIVALS = {"ProxQP": "rivals.proxqp_dense", "PIQP": "rivals.piqp_dense"}
LEVELS = {"float64": (1e-3, 1e-6, 1e-9), "float32": (1e-2, 1e-4)}
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
        words = f"problems of {len(data)} solved at {level:g}"
        rows.append(harness.solved_row(case, words, solved, len(data), target=target))
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


def main() -> None:
    """Measure both precisions, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, budget=5.0, each="contestant and problem")
    parser.add_argument("--names", nargs="+", help="problems (default: all small ones)")
    run = harness.Run(HERE, parser, lambda args: not args.names)
    data = problem.problems(problem.instance())
    data = {name: data[name] for name in run.args.names or data}
    arrays = {f"{name}.{key}": value for name, one in data.items() for key, value in one.items()}
    for case, levels in LEVELS.items():
        record = run.measure(arrays, OWN, RIVALS if case == "float64" else {}, x64=case == "float64")
        rows = finite(rows_of(case, data, record, levels))
        run.add(rows, record, case, verdicts=verdicts(data, record))


if __name__ == "__main__":
    main()
