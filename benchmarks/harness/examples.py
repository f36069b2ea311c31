"""A question of many examples: one small file for each case and one for each contestant, one command for all.

    TASK/QUESTION/run.py                  examples.main(__file__, __doc__)
    TASK/QUESTION/cases/NAME.py           an instance, a judge, and what is asked of the answer
    TASK/QUESTION/ours/NAME.py            a contestant of this library; the first by name is ours in the rows
    TASK/QUESTION/baselines/NAME.py       another contestant that needs this library's environment only
    TASK/QUESTION/rivals/NAME.py          a contestant in an environment with rivals/requirements.txt

A case is a module of NumPy alone with

    METRICS = {"error of the state": Metric(target=1e-4), ...}
    def instance(seed): ...               # arrays by name
    def judge(data, found): ...           # {metric: number}; found[action] are a contestant's arrays

and, where they differ from the question's, `SEEDS` and `X64`. A contestant is a module with
`prepare(case, data) -> (actions, compile_s)` as `worker.py` says; it returns None where the case is not for it.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from harness import contestants, environment, rows as results, runs

Row = dict[str, Any]


class Metric(NamedTuple):
    """What a number that a judge finds means, and the target of ours."""

    target: float | None = None
    unit: str = "1"
    better: str = "lower"


def stems(folder: Path) -> list[str]:
    """The modules of a folder whose names do not begin with an underscore."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def words_of(name: str) -> str:
    """A file's name as rows have it."""
    return name.replace("_", " ")


def names_of(folder: Path, kind: str, words: Mapping[str, str]) -> dict[str, str]:
    """The contestants of a kind, `ours`, `baselines` or `rivals`: what rows call each, and its module."""
    found = {words.get(stem, words_of(stem)): f"{kind}.{stem}" for stem in stems(folder / kind)}
    if kind == "ours" and found:
        first, *rest = found
        labels = {first: results.OURS, **{name: f"{results.OURS}, {name}" for name in rest}}
        found = {labels[name]: module for name, module in found.items()}
    return found


def rows_of(
    item: str, case: ModuleType, data: Any, record: Any, actions: Mapping[str, str], ratio: float | None = None
) -> list[Row]:
    """What the case's judge says of everyone, then times."""
    judged = {who: case.judge(data, report["outputs"]) for who, report in record["contestants"].items()}
    rows = []
    for name, metric in case.METRICS.items():
        values = {who: float(found[name]) for who, found in judged.items() if name in found}
        rows.append(results.row(item, name, values, **metric._asdict()))
    times = results.time_rows(item, record, dict(actions))
    return results.finite(rows) + times + ratio_rows(item, record, actions, ratio)


def ratio_rows(item: str, record: Any, actions: Mapping[str, str], target: float | None = None) -> list[Row]:
    """How many times less CPU time ours takes than each rival."""
    rows = []
    for who in record["contestants"]:
        for action, words in actions.items():
            value = results.paired(record, (who, action), (results.OURS, action))
            if not who.startswith(results.OURS) and value is not None:
                metric = f"times less CPU time than {who}, {words}"
                rows.append(results.row(item, metric, {results.OURS: value}, better="higher", target=target))
    return rows


def main(
    file: str,
    words: str,
    *,
    actions: Mapping[str, str],
    names: Mapping[str, str] | None = None,
    seeds: Sequence[int] = (0, 1),
    budget: float = contestants.BUDGET,
    patience: float = contestants.PATIENCE,
    ratio: float | None = None,
    argv: Sequence[str] | None = None,
) -> runs.Run:
    """The command of a question: measures its cases, prints the targets, stores the rows after each.

    Rows of cases that were not chosen stay in the file.

    Args:
        file: `__file__` of the question's `run.py`.
        words: its docstring.
        actions: what rows call every action that is timed.
        names: what rows call a contestant, by the name of its file; that name by default.
        seeds: of the draws; the last is one that nothing was tuned on.
        budget: seconds of repetitions of an action; one that takes longer is called once.
        patience: seconds before a silent contestant counts as failed.
        ratio: target of the times less CPU time that ours takes than each rival.
        argv: the options; those of the command line by default.
    """
    folder = Path(file).resolve().parent
    sys.path[:0] = [path for path in environment.paths(folder) if path not in sys.path]
    cases, rivals = stems(folder / "cases"), names_of(folder, "rivals", names or {})
    parser = runs.command_line(folder, words, seeds, budget=budget, rivals=bool(rivals))
    parser.add_argument("--cases", metavar="NAME", nargs="+", choices=cases, default=cases, help=", ".join(cases))
    run = runs.Run(folder, parser, lambda args: True, argv)
    run.keep(lambda item: item.partition(",")[0] in {words_of(name) for name in cases if name not in run.args.cases})
    own = names_of(folder, "ours", names or {}) | names_of(folder, "baselines", names or {})
    for name in run.args.cases:
        case = importlib.import_module(f"cases.{name}")
        for seed in chosen(run.args, parser, case):
            item, data = f"{words_of(name)}, seed {seed}", case.instance(seed)
            options = {"case": name, "x64": getattr(case, "X64", True), "patience": patience, "long": True}
            record = run.measure(data, own, rivals, **options)
            run.add(rows_of(item, case, data, record, actions, ratio), record, item)
    return run


def chosen(args: argparse.Namespace, parser: argparse.ArgumentParser, case: ModuleType) -> Sequence[int]:
    """The seeds that were asked for, or the case's own."""
    return getattr(case, "SEEDS", args.seeds) if args.seeds == parser.get_default("seeds") else args.seeds
