"""Measured sets: training record, test records, and how runs on them are judged; NumPy alone.

Every file of `cases/` has `SETS`: a function without arguments for each set, that returns a `Measured`.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import environment, examples

Signals = tuple[np.ndarray, np.ndarray]


class Measured(NamedTuple):
    """One set; signals are inputs `(time, input)` and outputs `(time, output)`, where the input may have no channel."""

    train: Signals
    tests: dict[str, Signals]
    dt: float
    skip: int = 20
    """Samples at the start of a test that a model may look at, and that are not scored."""
    steps: int = 40
    """Of every fit of the study, fewer for long records."""
    unit: str = "1"


def folder(name: str) -> Path:
    """The folder of a set, or of a family of them."""
    return environment.data_folder() / name


def halves(u: np.ndarray, y: np.ndarray, dt: float) -> Measured:
    """The first half to train, the second to test."""
    n = len(y) // 2
    return Measured((u[:n], y[:n]), {"": (u[n:], y[n:])}, dt)


def everything(here: Path) -> dict[str, Callable[[], Measured]]:
    """The loaders of all sets by name."""
    found: dict[str, Callable[[], Measured]] = {}
    for name in examples.stems(here / "cases"):
        found |= importlib.import_module(f"cases.{name}").SETS
    return found


def arrays(name: str, one: Measured, seed: int) -> dict[str, Any]:
    """What contestants get: the training record, and of the tests the inputs and the first outputs."""
    data = {"name": name, "u": one.train[0], "y": one.train[1], "dt": one.dt, "skip": one.skip}
    data |= {"steps": one.steps, "seed": seed}
    for index, (u, y) in enumerate(one.tests.values()):
        hidden = np.full_like(y, np.nan)
        hidden[: one.skip] = y[: one.skip]
        data |= {f"u_{index}": u, f"y_{index}": hidden}
    return data


def error(one: Measured, index: int, simulated: np.ndarray) -> np.ndarray:
    """Root mean squared error of each output in a test."""
    y = list(one.tests.values())[index][1][one.skip :]
    squares = np.mean((np.asarray(simulated)[one.skip :] - y) ** 2, axis=0)
    return np.where(np.isfinite(squares), np.sqrt(squares), np.inf)


def deviation(one: Measured, index: int) -> np.ndarray:
    """Standard deviation of each output in a test."""
    return np.std(list(one.tests.values())[index][1][one.skip :], axis=0)
