"""Contestants in processes of their own, which take turns: what each computes, and how long that takes."""

import json
import math
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment

REPETITIONS = 11
FEWEST_REPETITIONS = 3  # where one call takes many seconds
SHORTEST = 0.05  # seconds; a repetition is as many calls as this takes
BUDGET = 30.0  # seconds of repetitions per contestant and action
PATIENCE = 600.0  # seconds before a silent contestant counts as failed

Record = dict[str, Any]


class Failed(RuntimeError):
    """A contestant ended, or kept silent for too long."""


class Contestant:
    """A process of `worker.py`, idle except during its turns."""

    def __init__(
        self,
        python: str,
        folder: Path,
        module: str,
        instance: Path,
        *,
        case: str | None = None,
        x64: bool = True,
        patience: float | None = None,
    ):
        arguments = [str(folder), module, str(instance), *([case] if case else [])]
        command = [python, "-m", "harness.worker", *arguments]
        pipe = subprocess.PIPE
        env = environment.child(folder, x64=x64)
        self.patience = PATIENCE if patience is None else patience
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
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise Failed("it ended" if ready else f"it was silent for {self.patience:g} s")
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
    case: str | None = None,
    x64: bool = True,
    budget: float = BUDGET,
    patience: float | None = None,
    long: bool = False,
) -> Record:
    """Times and arrays of every contestant on one instance, in turns.

    Args:
        contestants: the Python and the module of each, by name.
        folder: the question's folder, from which the modules are imported.
        arrays: the instance.
        case: the name of the module in `cases/` that the contestants are given too.
        x64: whether JAX computes in float64.
        budget: seconds of repetitions per contestant and action.
        patience: seconds before a silent contestant counts as failed.
        long: an action that takes longer than the budget is called once, and that call is timed.

    Returns:
        `contestants[name]`: `compile_s[action]`, `cpu_s[action]` and `wall_s[action]` (lists), `outputs[action]`
        (arrays); `versions`; `failures`, the names of those that failed. Who is not for this case is not in it.
    """
    record: Record = {"contestants": {}, "versions": {}, "failures": []}
    running: dict[str, Contestant] = {}
    options = {"case": case, "x64": x64, "patience": patience}
    with tempfile.TemporaryDirectory() as name:
        instance, saved = Path(name) / "instance.npz", Path(name) / "saved.npz"
        np.savez(instance, **arrays)
        try:
            for who, (python, module) in contestants.items():
                with _failures(record, running, who):
                    running[who] = Contestant(python, folder, module, instance, **options)
                    if running[who].hello["actions"]:
                        _begin(record, who, running[who], saved, budget, long)
                    else:
                        running.pop(who).close()
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


def _begin(record: Record, who: str, contestant: Contestant, saved: Path, budget: float, long: bool) -> None:
    """The arrays of every action, and how often to repeat it; this also warms it up."""
    hello = contestant.hello
    report: Record = {"compile_s": hello["compile_s"], "outputs": {}, "plan": {}, "cpu_s": {}, "wall_s": {}}
    for action in hello["actions"]:
        first = contestant.ask(action=action, save=str(saved))
        with np.load(saved) as outputs:
            report["outputs"][action] = dict(outputs)
        if long and first["wall_s"] > budget:
            report["plan"][action] = [1, 0]
            report["cpu_s"][action], report["wall_s"][action] = [first["cpu_s"]], [first["wall_s"]]
            continue
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
