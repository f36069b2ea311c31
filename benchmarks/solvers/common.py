"""What the questions about solvers share: a command line, contestants in processes of their own, in turns, and rows."""

import argparse
import datetime
import json
import math
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
OURS = "sciml"
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
REPETITIONS = 11
FEWEST_REPETITIONS = 3  # where one call takes many seconds
SHORTEST = 0.05  # seconds; a repetition is as many calls as this takes
BUDGET = 30.0  # seconds of repetitions per contestant and action
PATIENCE = 600.0  # seconds before a silent contestant counts as failed
TIMES = {"cpu_s": "CPU time", "wall_s": "wall time"}
UNITS = {"ms": 1e3, "µs": 1e6}  # in a second
QUARTILES = {"": 0.5, ", lower quartile": 0.25, ", upper quartile": 0.75}

Record = dict[str, Any]


class Failed(RuntimeError):
    """A contestant ended, or kept silent for too long."""


class Contestant:
    """A process of `worker.py`, idle except during its turns."""

    def __init__(self, python: str, folder: Path, module: str, instance: Path, *, x64: bool = True):
        paths = [str(folder), str(HERE), str(HERE.parents[1])]
        env = {**os.environ, **ONE_THREAD, "JAX_ENABLE_X64": str(int(x64)), "PYTHONPATH": os.pathsep.join(paths)}
        command = [python, str(HERE / "worker.py"), module, str(instance)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        try:
            self.hello = self._read()
        except Failed:
            self.close()
            raise

    def ask(self, **request: Any) -> Record:
        """The reply to one request."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError as error:
            raise Failed("it ended") from error
        return self._read()

    def _read(self) -> Record:
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise Failed("it ended" if ready else f"it was silent for {PATIENCE:g} s")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def measure(
    contestants: dict[str, tuple[str, str]],
    folder: Path,
    arrays: dict[str, np.ndarray],
    *,
    x64: bool = True,
    budget: float = BUDGET,
) -> Record:
    """Times and arrays of every contestant on one instance, in turns.

    Args:
        contestants: the Python and the module of each, by name.
        folder: the question's folder, from which the modules are imported.
        arrays: the instance.
        x64: whether JAX computes in float64.
        budget: seconds of repetitions per contestant and action.

    Returns:
        `contestants[name]`: `compile_s[action]`, `cpu_s[action]` and `wall_s[action]` (lists), `outputs[action]`
        (arrays); `versions`; `failures`, the names of those that failed.
    """
    record: Record = {"contestants": {}, "versions": {}, "failures": []}
    running: dict[str, Contestant] = {}
    with tempfile.TemporaryDirectory() as name:
        instance, saved = Path(name) / "instance.npz", Path(name) / "saved.npz"
        np.savez(instance, **arrays)
        try:
            for who, (python, module) in contestants.items():
                with _failures(record, running, who):
                    running[who] = Contestant(python, folder, module, instance, x64=x64)
                    _begin(record, who, running[who], saved, budget)
            for turn in range(REPETITIONS):
                for who in list(running)[:: 1 if turn % 2 == 0 else -1]:
                    with _failures(record, running, who):
                        _turn(record["contestants"][who], running[who], turn)
        finally:
            for contestant in running.values():
                contestant.close()
    return record


class _failures:
    """A context in which `Failed` counts the contestant as failed and drops it."""

    def __init__(self, record: Record, running: dict[str, Contestant], who: str):
        self.record, self.running, self.who = record, running, who

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if not isinstance(error, Failed):
            return False
        print(f"failed: {self.who}: {error}", file=sys.stderr)
        self.record["failures"].append(self.who)
        self.record["contestants"].pop(self.who, None)
        if self.who in self.running:
            self.running.pop(self.who).close()
        return True


def _begin(record: Record, who: str, contestant: Contestant, saved: Path, budget: float) -> None:
    """The arrays of every action, and how often to repeat it; this also warms it up."""
    hello = contestant.hello
    report: Record = {"compile_s": hello["compile_s"], "outputs": {}, "plan": {}, "cpu_s": {}, "wall_s": {}}
    for action in hello["actions"]:
        contestant.ask(action=action, save=str(saved))
        with np.load(saved) as outputs:
            report["outputs"][action] = dict(outputs)
        once = contestant.ask(action=action, count=1)["wall_s"]
        count = max(1, math.ceil(SHORTEST / once))
        fit = int(budget / (count * once))
        report["plan"][action] = [count, min(REPETITIONS, max(FEWEST_REPETITIONS, fit))]
        report["cpu_s"][action], report["wall_s"][action] = [], []
    record["contestants"][who] = report
    record["versions"] = {**hello["versions"], **record["versions"]}


def _turn(report: Record, contestant: Contestant, turn: int) -> None:
    """One repetition of every action that still has one to go."""
    for action, (count, repetitions) in report["plan"].items():
        if turn < repetitions:
            times = contestant.ask(action=action, count=count)
            report["cpu_s"][action].append(times["cpu_s"])
            report["wall_s"][action].append(times["wall_s"])


def paired(record: Record, above: tuple[str, str], below: tuple[str, str], kind: str = "cpu_s") -> float | None:
    """Median over the repetitions of the ratio of two (contestant, action); None where one of them is missing."""
    series = [record["contestants"].get(who, {}).get(kind, {}).get(action, []) for who, action in (above, below)]
    ratios = [a / b for a, b in zip(*series, strict=False)]
    return statistics.median(ratios) if ratios else None


def row(item: str, metric: str, values: dict[str, float | None], **rest: Any) -> Record:
    """One row of results; `values` by contestant."""
    rivals = {name: value for name, value in values.items() if name != OURS and value is not None}
    start = {"item": item, "metric": metric, "value": values.get(OURS), "unit": "1", "target": None, "better": "lower"}
    return {**start, "rivals": rivals, "failures": 0, **rest}


def solved_row(item: str, metric: str, solved: dict[str, float | None], of: int, **rest: Any) -> Record:
    """How many `of` all the instances each contestant solved; those that ours did not are failures."""
    rest = {"target": of, "better": "higher", "failures": of - solved.get(OURS, 0), **rest}
    return row(item, metric, solved, **rest)


def quantile_rows(
    item: str,
    words: str,
    record: Record,
    action: str,
    kind: str,
    *,
    unit: str = "ms",
    count: Callable[[str], int] = lambda who: 1,
    quantiles: dict[str, float] = QUARTILES,
) -> list[Record]:
    """Median and quartiles of the times `kind` of an action, by contestant, for each of its `count(who)` instances."""
    series = {who: r[kind][action] for who, r in record["contestants"].items() if r[kind].get(action)}
    rows = []
    for suffix, share in quantiles.items():
        values = {who: UNITS[unit] * float(np.quantile(times, share)) / count(who) for who, times in series.items()}
        rows.append(row(item, f"{TIMES[kind]} of {words}{suffix}", values, unit=unit))
    return rows


def time_rows(item: str, record: Record, actions: dict[str, str]) -> list[Record]:
    """CPU time with quartiles, wall time and compile time of every action; `actions` maps it to its words."""
    rows = []
    for action, words in actions.items():
        rows += quantile_rows(item, words, record, action, "cpu_s")
        rows += quantile_rows(item, words, record, action, "wall_s", quantiles={"": 0.5})
        compiles = {who: r["compile_s"][action] for who, r in record["contestants"].items() if action in r["compile_s"]}
        rows.append(row(item, f"compile time of {words}", compiles, unit="s"))
    return [r for r in rows if r["value"] is not None or r["rivals"]]


def finish(rows: list[Record], record: Record, command: str) -> list[Record]:
    """The rows with what they share; a contestant that failed counts in each."""
    common = {
        "versions": record["versions"],
        "device": f"{platform.machine().replace('_', '-')} CPU, 1 thread",
        "date": datetime.date.today().isoformat(),
        "command": command,
    }
    return [{**r, **common, "failures": r["failures"] + len(record["failures"])} for r in rows]


def without_outputs(record: Record) -> Record:
    """The record as it is stored: times, no solutions."""
    slim = {who: {k: v for k, v in r.items() if k != "outputs"} for who, r in record["contestants"].items()}
    return {**record, "contestants": slim}


def pin(core: int | None) -> None:
    """One processor for this process and its children: libraries that ignore thread counts obey this."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if core is None else core})


def show(rows: list[Record]) -> None:
    """Print the rows with a target."""
    for r in rows:
        if r["target"] is not None:
            rivals = ", ".join(f"{name} {value:.4g}" for name, value in r["rivals"].items())
            value = "–" if r["value"] is None else f"{r['value']:.4g}"
            print(f"{r['item']}: {r['metric']}: {value} (target {r['target']:g}; {rivals or 'no rival'})", flush=True)


def write(path: Path, content: Any) -> None:
    """JSON under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def command_line(
    folder: Path, words: str, seeds: Sequence[int] = (), *, budget: float = BUDGET, each: str = "contestant and action"
) -> argparse.ArgumentParser:
    """The options that every question has; `--seeds` where it draws with some. `each` is what has the budget."""
    rivals = "Python of an environment with rivals/requirements.txt; without it only this library runs, and the "
    rivals += "results go nowhere unless --out names a file"
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals-python", metavar="PATH", help=rivals)
    parser.add_argument("--rivals", metavar="NAME", nargs="+", help="only these; then --out has to name a file too")
    if seeds:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--budget", type=float, default=budget, help=f"seconds per {each}")
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--out", type=Path, help=f"default, for a complete run only: results/{folder.name}.json")
    return parser


class Run:
    """A question's cases one after the other: what they measured and its rows, stored after each.

    Args:
        folder: the question's.
        parser: its `command_line`, with the options of its own.
        complete: whether these ask for the whole question; with all seeds and the rivals, results then go to the
            question's file by default.
    """

    def __init__(self, folder: Path, parser: argparse.ArgumentParser, complete: Callable[[argparse.Namespace], bool]):
        args = parser.parse_args()
        all_seeds = {*(parser.get_default("seeds") or ())} <= {*getattr(args, "seeds", ())}
        if args.out is None and args.rivals_python and not args.rivals and all_seeds and complete(args):
            args.out = folder / "results" / f"{folder.name}.json"
        pin(args.core)
        self.folder, self.args, self.rows, self.raw = folder, args, [], {}

    def measure(
        self, data: dict[str, np.ndarray], own: dict[str, str], rivals: dict[str, str], *, x64: bool = True
    ) -> Record:
        """`measure` of our contestants and, where their Python is known, the rivals; both name the module of each."""
        contestants = {who: (sys.executable, module) for who, module in own.items()}
        if self.args.rivals_python:
            wanted = self.args.rivals or list(rivals)
            contestants |= {who: (self.args.rivals_python, rivals[who]) for who in rivals if who in wanted}
        return measure(contestants, self.folder, data, x64=x64, budget=self.args.budget)

    def add(self, rows: list[Record], record: Record, case: str | None = None, **kept: Any) -> None:
        """Finish, print and store rows; of a `case` also its record, with what else is to be `kept`."""
        command = f"python benchmarks/solvers/{self.folder.name}/run.py --rivals-python PATH"
        new = finish(rows, record, command)
        show(new)
        self.rows += new
        if case is not None:
            self.raw[case] = {**without_outputs(record), **kept}
        if self.args.out is not None:
            write(self.args.out, self.rows)
            write(self.args.out.parent / "raw" / self.args.out.name, self.raw)
