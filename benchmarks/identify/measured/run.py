"""Measured records, each identified by the same call: runs every contestant and writes the rows.

python benchmarks/identify/measured/run.py --rivals-python PATH
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import harness  # noqa: E402
import sets  # noqa: E402
from harness import OURS, row  # noqa: E402

OWN = {OURS: "ours.identify", "linear subspace": "baselines.subspace", f"{OURS}, cubic feedback": "ours.cubic_feedback"}
RIVALS = {"MLP-NARX": "rivals.mlp_narx", "jax-sysid": "rivals.jax_sysid"}
WORSE = 1.05  # most of the error of a linear model
TIE = 1.02  # of the smallest error
TOGETHER = "all sets"
RMSE, ERROR, LINEAR, OWN_LINEAR = (
    "test RMSE in the record's unit",
    "test error in deviations",
    "test error over that of the linear subspace model",
    "test error over that of the study's own linear model",
)


def rows_of(name: str, one: sets.Measured, record: dict[str, Any]) -> Iterator[dict]:
    """The rows of one set."""
    reports = {who: report["outputs"]["fit"] for who, report in record["contestants"].items()}
    for index, (test, (_, y)) in enumerate(one.tests.items()):
        item = f"{name}, {test}" if test else name
        found = {who: sets.error(one, index, outputs[f"y_{index}"]) for who, outputs in reports.items()}
        deviation = sets.deviation(one, index)
        total = lambda errors, scale=deviation: float(np.sqrt(np.mean((errors / scale) ** 2)))
        errors = {who: total(each) for who, each in found.items()}
        yield row(item, ERROR, errors)
        fits = {who: float(np.mean(100 * (1 - each / deviation))) for who, each in found.items()}
        yield row(item, "fit, mean over outputs", fits, unit="%", better="higher")
        for k in range(y.shape[1]):
            name_of = f"{item}, output {k + 1}" if y.shape[1] > 1 else item
            yield row(f"{name_of} [{one.unit}]", RMSE, {who: float(each[k]) for who, each in found.items()})
        if OURS in errors:
            line = total(sets.error(one, index, reports[OURS][f"linear_y_{index}"]))
            yield row(item, OWN_LINEAR, {OURS: errors[OURS] / line}, target=WORSE)
            if "linear subspace" in errors:
                yield row(item, LINEAR, {OURS: errors[OURS] / errors["linear subspace"]}, target=WORSE)
    for kind, words in harness.TIMES.items():
        times = {who: report[kind]["fit"][0] for who, report in record["contestants"].items()}
        yield row(name, f"{words}, compilation included", times, unit="s")


def summary(rows: list[dict]) -> Iterator[dict]:
    """How many tests were won, and in how many a linear model is better by more than 5 %."""
    of = [r for r in rows if r["metric"] == ERROR]
    won = {}
    for who in [OURS, *sorted({rival for r in of for rival in r["rivals"]})]:
        values = [{**r["rivals"], OURS: np.inf if r["value"] is None else r["value"]} for r in of]
        won[who] = sum(v.get(who, np.inf) <= TIE * min(v.values()) for v in values)
    yield row(
        TOGETHER, "tests best or within 2 % of the best", won, target=int(np.ceil(2 * len(of) / 3)), better="higher"
    )
    for metric in (LINEAR, OWN_LINEAR):
        ratios = [r["value"] for r in rows if r["metric"] == metric]
        count = sum(value is not None and value <= WORSE for value in ratios)
        words = metric.replace("test error over", f"tests with an error of at most {WORSE:g} times")
        yield row(TOGETHER, words, {OURS: count}, target=len(ratios), better="higher")
    yield row(TOGETHER, "tests", {OURS: len(of)}, better="higher")


def main() -> None:
    """Measure all sets, print the targets, write the rows."""
    loaders = sets.everything(HERE)
    parser = harness.command_line(HERE, __doc__, (0,), budget=0.0)
    parser.add_argument("--sets", metavar="NAME", nargs="+", choices=list(loaders), default=list(loaders))
    run = harness.Run(HERE, parser, lambda args: True)
    run.keep(lambda item: item != TOGETHER and not any(item.split(",")[0] == name for name in run.args.sets))
    for name in run.args.sets:
        try:
            one = loaders[name]()
        except FileNotFoundError as missing:
            print(f"left out: {name}: {missing}", file=sys.stderr)
            continue
        for seed in run.args.seeds:
            record = run.measure(sets.arrays(name, one, seed), OWN, RIVALS, patience=3000.0, long=True)
            kept = {who: str(report["outputs"]["fit"]["model"]) for who, report in record["contestants"].items()}
            ours = record["contestants"].get(OURS)
            more = {"candidates": str(ours["outputs"]["fit"]["candidates"])} if ours else {}
            item = name if seed == 0 else f"{name}, seed {seed}"
            rows = harness.finite(list(rows_of(item, one, record)))
            run.add(rows, record, item, models=kept, **more)
        together = list(summary([*run.kept, *run.rows]))
        run.rows = [r for r in run.rows if r["item"] != TOGETHER]
        run.add(together, {"versions": {}, "failures": []})


if __name__ == "__main__":
    main()
