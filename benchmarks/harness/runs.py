"""A question's command line, and its run: cases one after the other, stored after each."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import contestants, environment, rows as results, storing

Record = dict[str, Any]


def command_line(
    folder: Path,
    words: str,
    seeds: Sequence[int] = (),
    *,
    budget: float = contestants.BUDGET,
    each: str = "contestant and action",
    rivals: bool = True,
) -> argparse.ArgumentParser:
    """The options that every question has; `--seeds` where it draws with some. `each` is what has the budget."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rivals:
        about = "Python of an environment with rivals/requirements.txt; without it only this library runs, and the "
        about += "results go nowhere unless --out names a file"
        parser.add_argument("--rivals-python", metavar="PATH", help=about)
        parser.add_argument("--rivals", metavar="NAME", nargs="+", help="only these; then --out has to name a file too")
    if seeds:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--budget", type=float, default=budget, help=f"seconds per {each}")
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--out", type=Path, help=f"default, for a complete run only: results/{folder.name}.json")
    return parser


def command(folder: Path, *, rivals: bool = True) -> str:
    """The command that runs the question in this folder, as rows quote it."""
    inside = folder.relative_to(environment.ROOT) if folder.is_relative_to(environment.ROOT) else Path(folder.name)
    return f"python {inside.as_posix()}/run.py" + " --rivals-python PATH" * rivals


class Run:
    """A question's cases one after the other: what they measured and its rows, stored after each.

    Args:
        folder: the question's.
        parser: its `command_line`, with the options of its own.
        complete: whether these ask for the whole question; with all seeds and the rivals, results then go to the
            question's file by default.
        argv: the options; those of the command line by default.
    """

    def __init__(
        self,
        folder: Path,
        parser: argparse.ArgumentParser,
        complete: Callable[[argparse.Namespace], bool],
        argv: Sequence[str] | None = None,
    ):
        args = parser.parse_args(argv)
        all_seeds = {*(parser.get_default("seeds") or ())} <= {*getattr(args, "seeds", ())}
        self.with_rivals = hasattr(args, "rivals_python")
        all_rivals = not self.with_rivals or (args.rivals_python and not args.rivals)
        if args.out is None and all_rivals and all_seeds and complete(args):
            args.out = folder / "results" / f"{folder.name}.json"
        environment.pin(args.core)
        environment.commit()
        self.folder, self.args, self.rows, self.raw = folder, args, [], {}
        self.kept: list[Record] = []

    def measure(self, data: dict[str, np.ndarray], own: dict[str, str], rivals: dict[str, str], **options: Any) -> Any:
        """`contestants.measure` of ours and, where their Python is known, the rivals; both name the module of each."""
        chosen = {who: (sys.executable, module) for who, module in own.items()}
        if self.with_rivals and self.args.rivals_python:
            wanted = self.args.rivals or list(rivals)
            chosen |= {who: (self.args.rivals_python, rivals[who]) for who in rivals if who in wanted}
        return contestants.measure(chosen, self.folder, data, **{"budget": self.args.budget, **options})

    def add(self, rows: list[Record], record: Record, case: str | None = None, **kept: Any) -> None:
        """Finish, print and store rows; of a `case` also its record, with what else is to be `kept`."""
        new = results.finish(rows, record, command(self.folder, rivals=self.with_rivals))
        results.show(new)
        self.rows += new
        if case is not None:
            self.raw[case] = {**storing.without_outputs(record), **kept}
        self.store()

    def keep(self, items: Callable[[str], bool]) -> None:
        """Keep these items of the file that the run writes to: rows and records."""
        paths = [self.args.out, self.args.out.parent / "raw" / self.args.out.name] if self.args.out else []
        rows, raw = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()] or ([], {})
        self.kept = [row for row in rows if items(row["item"])]
        self.raw = {item: record for item, record in raw.items() if items(item)}

    def store(self) -> None:
        """Rows and records, where there is a place for them."""
        if self.args.out is not None:
            storing.write(self.args.out, [*self.kept, *self.rows])
            storing.write(self.args.out.parent / "raw" / self.args.out.name, self.raw)
