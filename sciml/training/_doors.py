"""What the doors of this package check before they compile anything."""

from pathlib import Path
from typing import Any

import numpy as np
import optimistix as optx

from ..core import invalid, wrong_type
from ..losses import AbstractLeastSquares
from ..sources import AbstractSource
from ._monitors import AbstractMonitor
from ._watch import Checkpoint


def check_steps(steps: Any) -> None:
    """Raises unless there is at least one step to take."""
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise invalid("steps", steps, "an integer >= 1", "say how many steps to take")


def check_loss(loss: Any) -> None:
    """Raises unless the loss can be evaluated."""
    if not callable(loss):
        fix = "turn a program into a loss by `losses.Penalty(program, weight=...)`; pass a function, not its value"
        raise wrong_type("loss", f"a {type(loss).__name__}", "a function `(model, batch) -> scalar`, or a loss", fix)


def is_second_order(method: Any, loss: Any) -> bool:
    """Whether the method is one of Optimistix.

    Raises:
        TypeError: a method of least squares, with a loss that declares no residuals.
    """
    if isinstance(method, optx.AbstractLeastSquaresSolver) and not isinstance(loss, AbstractLeastSquares):
        fix = "wrap the residuals: `losses.LeastSquares(residuals)`"
        raise wrong_type("loss", type(loss).__name__, "a loss that declares residuals", fix)
    return isinstance(method, optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser)


def whole(source: Any) -> Any:
    """All data of a source: a second-order method sees them at every step."""
    data = source.all() if isinstance(source, AbstractSource) else source
    if data is None and isinstance(source, AbstractSource):
        fix = "draw a fixed set, `source.draw(n, key=key)`, and pass it as the source"
        got = f"{type(source).__name__}, whose instances are new at every step, with a second-order method"
        raise invalid("source", got, "a finite set of instances", fix)
    return data


def monitors_of(monitor: Any) -> tuple[AbstractMonitor, ...]:
    """The monitors as a tuple."""
    monitors = tuple(monitor) if isinstance(monitor, tuple | list) else () if monitor is None else (monitor,)
    for one in monitors:
        if not isinstance(one, AbstractMonitor):
            fix = "pass for instance `training.Log(path)`, or subclass `training.AbstractMonitor`"
            raise wrong_type("monitor", repr(one), "`training.AbstractMonitor` objects", fix)
    return monitors


def checkpoint_of(checkpoint: Any) -> Checkpoint | None:
    """Where and how often to save."""
    if isinstance(checkpoint, str | Path):
        return Checkpoint(str(checkpoint))
    if not (checkpoint is None or isinstance(checkpoint, Checkpoint)):
        fix = "give the path of the file, or `training.Checkpoint(path, every=...)`"
        raise wrong_type("checkpoint", repr(checkpoint), "a path, a `Checkpoint` or None", fix)
    return checkpoint
