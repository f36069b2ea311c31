"""The nonconvex program of DC3, solved in a batch: runs every contestant and writes the results.

python benchmarks/solvers/dc3_nonconvex/run.py --rivals-python PATH
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

SQP, IPOPT = "sciml SQP", "IPOPT"
OWN, RIVALS = {OURS: "ours", SQP: "ours_sqp"}, {IPOPT: "rivals.ipopt_loop"}
FASTER = 7.0  # CPU time of an instance, IPOPT / ours
COMPILATION = 6.0  # CPU seconds, of one instance with 100 variables
RESIDUAL = 1e-6  # what counts as solved, by the referee, unscaled
SAME = 1e-4  # distance of two decisions that count as the same optimum
SEQUENTIAL, TIMED = 200, 50  # instances that IPOPT solves, and of these the ones in a timed call
QUOTED_TIME = {"IPOPT (quoted)": 37.0, "slsqp-jax (quoted)": 494.0}  # CPU ms of an instance, on another day
QUOTED_COMPILATION = {"slsqp-jax (quoted)": 19.5}  # CPU s


def judge(data: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The optimality conditions of every answer."""
    slope = problem.slope(data, found["y"], found["eq"], found["ineq"])
    return referees.conditions(slope, *problem.values(data, found["y"]), found["ineq"])


def accuracy_rows(item: str, seed: int, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds; shares where a contestant solved only the first instances."""
    outputs = {who: report["outputs"]["batch"] for who, report in record["contestants"].items()}
    judged = {who: judge(data, found) for who, found in outputs.items()}
    lanes = len(data["x"])
    good = {who: parts["largest"] <= RESIDUAL for who, parts in judged.items()}
    claimed = {who: found["ok"].astype(bool) for who, found in outputs.items()}
    share = {who: 100 * float(np.mean(mask)) for who, mask in good.items()}
    false = {who: int(np.sum(claimed[who] & ~good[who])) for who in outputs}
    largest = lambda name: {who: float(np.max(judged[who][name])) for who in outputs}
    mean = {who: float(np.mean(problem.objective(data, found["y"]))) for who, found in outputs.items()}
    missing = {"failures": lanes - int(np.sum(good[OURS]))} if OURS in good else {}
    target = problem.OBJECTIVE.get(seed) if lanes == problem.TESTED else None
    whole = {who: value for who, value in mean.items() if len(outputs[who]["y"]) == lanes}
    rows = [
        row(item, f"instances solved at {RESIDUAL:g}", share, unit="%", target=100, better="higher", **missing),
        row(item, "claimed successes that the referee rejects", false, target=0),
        row(item, "largest residual", largest("largest")),
        row(item, "largest violation", largest("violation")),
        row(item, "mean objective", whole, target=target),
        row(item, "mean iterations", {who: float(np.mean(found["steps"])) for who, found in outputs.items()}),
        row(item, "most iterations", {who: float(np.max(found["steps"])) for who, found in outputs.items()}),
    ]
    if IPOPT in outputs:
        rows += optimum_rows(item, data, outputs)
    return rows


def optimum_rows(item: str, data: dict[str, np.ndarray], outputs: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """On the instances that IPOPT solved: mean objectives, and whose local optimum is better where they differ."""
    count = len(outputs[IPOPT]["y"])
    first = {who: found["y"][:count] for who, found in outputs.items()}
    cost = {who: problem.objective({**data, "x": data["x"][:count]}, y) for who, y in first.items()}
    ours = {who: y for who, y in first.items() if who != IPOPT}
    differ = {who: np.max(np.abs(y - first[IPOPT]), axis=1) > SAME for who, y in ours.items()}
    percent = lambda masks: {who: 100 * float(np.mean(mask)) for who, mask in masks.items()}
    some = f"{item}, first {count}"
    return [
        row(some, "mean objective", {who: float(np.mean(value)) for who, value in cost.items()}),
        row(some, "instances with the optimum of IPOPT", percent({w: ~d for w, d in differ.items()}), unit="%"),
        row(some, "a better optimum", percent({w: d & (cost[w] < cost[IPOPT]) for w, d in differ.items()}), unit="%"),
        row(some, "a worse optimum", percent({w: d & (cost[w] > cost[IPOPT]) for w, d in differ.items()}), unit="%"),
    ]


def time_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """Times of one instance of a batch, ratios to IPOPT, and compile times."""
    found = record["contestants"]
    count = lambda who: int(data["timed"]) if who == IPOPT else len(data["x"])
    rows = []
    for who, words in ((OURS, item), (SQP, f"{item}, SQP")):
        for kind, label in harness.TIMES.items():
            ratio = harness.paired(record, (IPOPT, "batch"), (who, "batch"), kind)
            if ratio is not None:
                target = FASTER if (who, kind) == (OURS, "cpu_s") else None
                value = {OURS: ratio * count(who) / count(IPOPT)}
                rows.append(row(words, f"times less {label} than IPOPT", value, target=target, better="higher"))
    for kind in harness.TIMES:
        times = harness.quantile_rows(item, "an instance in a batch", record, "batch", kind, count=count)
        times[0]["rivals"] |= QUOTED_TIME if kind == "cpu_s" else {}
        rows += times
    alone = {who: 1e3 * float(np.median(r["cpu_s"]["one"])) for who, r in found.items()}
    rows.append(row(item, "CPU time of an instance alone", alone, unit="ms"))
    compiles = {who: r["compile_s"]["one"] for who, r in found.items()}
    words, compiles = "CPU time of the compilation for one instance", {**compiles, **QUOTED_COMPILATION}
    rows.append(row(item, words, compiles, unit="s", target=COMPILATION))
    batches = {who: r["compile_s"]["batch"] for who, r in found.items() if who != IPOPT}
    rows.append(row(item, "CPU time of the compilation for a batch", batches, unit="s"))
    return [r for r in rows if r["value"] is not None]


def main() -> None:
    """Measure the seeds, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS)
    parser.add_argument("--lanes", type=int, default=problem.TESTED, help="instances to test, counted from the last")
    parser.add_argument("--sequential", type=int, default=SEQUENTIAL, help="instances that IPOPT solves")
    parser.add_argument("--timed", type=int, default=TIMED, help="of these, the ones in a timed call")
    run = harness.Run(HERE, parser, lambda args: args.lanes == problem.TESTED)
    for seed in run.args.seeds:
        item = f"{run.args.lanes} instances, seed {seed}"
        data = problem.instance(seed, run.args.lanes, run.args.sequential, run.args.timed)
        record = run.measure(data, OWN, RIVALS)
        run.add(accuracy_rows(item, seed, data, record) + time_rows(item, data, record), record, item)


if __name__ == "__main__":
    main()
