"""Ten thousand parametric Rosenbrock problems: runs every contestant and writes the results.

python benchmarks/solvers/rosenbrock/run.py --rivals-python PATH
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
FASTER = 50.0  # instances in a second of CPU time, ours / IPOPT; and of wall time
SAME = 99.9  # percent of the instances
RESIDUAL = 1e-6  # what counts as solved, by the referee, unscaled
TIMED = 500  # instances of a timed call of the sequential contestant


def judge(data: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The optimality conditions of every answer."""
    values = problem.constraints(data, found["z"])
    slope = problem.slope(data, found["z"], found["ineq"])
    return referees.conditions(slope, np.zeros((len(values), 0)), values, found["ineq"])


def accuracy_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """What the referee finds."""
    outputs = {who: report["outputs"]["solve"] for who, report in record["contestants"].items()}
    judged = {who: judge(data, found) for who, found in outputs.items()}
    count = len(data["a"])
    solved = {who: int(np.sum(parts["largest"] <= RESIDUAL)) for who, parts in judged.items()}
    claimed = {who: found["ok"].astype(bool) for who, found in outputs.items()}
    false = {who: int(np.sum(claimed[who] & (judged[who]["largest"] > RESIDUAL))) for who in outputs}
    largest = lambda name: {who: float(np.max(judged[who][name][claimed[who]], initial=0.0)) for who in outputs}
    mean = {who: float(np.mean(problem.objective(data, found["z"]))) for who, found in outputs.items()}
    return [
        harness.solved_row(item, f"instances solved at {RESIDUAL:g}", solved, count),
        row(item, "claimed successes that the referee rejects", false, target=0),
        row(item, "largest residual of the claimed successes", largest("largest")),
        row(item, "largest violation of the claimed successes", largest("violation")),
        row(item, "mean objective", mean),
        row(item, "mean iterations", {who: float(np.mean(found["steps"])) for who, found in outputs.items()}),
        row(item, "most iterations", {who: float(np.max(found["steps"])) for who, found in outputs.items()}),
    ]


def optimum_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """Whether our optima are those of IPOPT; where not, both are KKT points or one failed, and which is better."""
    outputs = {who: report["outputs"]["solve"] for who, report in record["contestants"].items()}
    if IPOPT not in outputs:
        return []
    rows = []
    rival = outputs[IPOPT]
    for who, words in ((OURS, item), (SQP, f"{item}, SQP")):
        if who not in outputs:
            continue
        found = outputs[who]
        distance = np.max(np.abs(found["z"] - rival["z"]), axis=1)
        values, others = problem.objective(data, found["z"]), problem.objective(data, rival["z"])
        good = judge(data, found)["largest"] <= RESIDUAL
        fair = judge(data, rival)["largest"] <= RESIDUAL
        differ, both = distance > problem.SAME, good & fair
        percent = lambda mask: {OURS: 100 * float(np.mean(mask))}
        rows += [
            row(words, "instances with the optimum of IPOPT", percent(~differ), unit="%", target=SAME, better="higher"),
            row(words, "another KKT point, ours better", percent(differ & both & (values < others)), unit="%"),
            row(words, "another KKT point, that of IPOPT better", percent(differ & both & (values > others)), unit="%"),
            row(words, "only IPOPT solved it", percent(differ & ~good & fair), unit="%"),
            row(words, "only ours solved it", percent(differ & good & ~fair), unit="%"),
        ]
    return rows


def time_rows(item: str, data: dict[str, np.ndarray], record: dict[str, Any]) -> list[dict]:
    """Times of one instance, and how many times more instances are solved in the same time."""
    count = lambda who: int(data["timed"]) if who == IPOPT else len(data["a"])
    rows = []
    for kind, label in harness.TIMES.items():
        ratios = {who: harness.paired(record, (IPOPT, "solve"), (who, "solve"), kind) for who in OWN}
        values = {who: ratio * count(who) / count(IPOPT) for who, ratio in ratios.items() if ratio is not None}
        words = f"times more instances in the same {label} than IPOPT"
        rows.append(row(item, words, values, target=FASTER, better="higher"))
        rows += harness.quantile_rows(item, "an instance", record, "solve", kind, unit="µs", count=count)
    compiles = {who: r["compile_s"]["solve"] for who, r in record["contestants"].items()}
    rows.append(row(item, "CPU time of the compilation", compiles, unit="s"))
    return [r for r in rows if r["value"] is not None or r["rivals"]]


def main() -> None:
    """Measure the seeds, print the targets, write the rows."""
    parser = harness.command_line(HERE, __doc__, problem.SEEDS, each="contestant")
    parser.add_argument("--count", type=int, default=problem.INSTANCES, help="instances")
    parser.add_argument("--timed", type=int, default=TIMED, help="instances of a timed call of IPOPT")
    run = harness.Run(HERE, parser, lambda args: args.count == problem.INSTANCES)
    for seed in run.args.seeds:
        item = f"{run.args.count} instances, seed {seed}"
        data = problem.instance(seed, run.args.count, run.args.timed)
        record = run.measure(data, OWN, RIVALS)
        rows = accuracy_rows(item, data, record) + optimum_rows(item, data, record)
        run.add(rows + time_rows(item, data, record), record, item)


if __name__ == "__main__":
    main()
