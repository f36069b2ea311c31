"""`fit`: one verb for first-order and second-order methods."""

from pathlib import Path
from typing import Any

import numpy as np
import optax
import optimistix as optx
from jaxtyping import PRNGKeyArray

from ..core import check_key, checked, invalid, Solution, wrong_type
from ..losses import AbstractLeastSquares
from ..sources import AbstractSource, Fixed
from ._first_order import Checkpoint, fit_first_order, Job, Watch
from ._monitors import AbstractMonitor
from ._parameters import partition
from ._second_order import fit_second_order


def fit(
    model: Any,
    loss: Any,
    source: Any,
    method: Any,
    *,
    steps: int,
    key: PRNGKeyArray,
    trainable: Any = None,
    monitor: AbstractMonitor | tuple[AbstractMonitor, ...] | None = None,
    checkpoint: Checkpoint | str | Path | None = None,
    progress: bool = True,
    throw: bool = True,
) -> Solution:
    """A model whose parameters make the loss small.

    Args:
        model: any pytree; parameters may be wrapped (`Positive`, `Bounded`, `Ranged`).
        loss: `(model, batch) -> scalar`, or one of `sciml.losses`; a method may exploit the structure that it declares.
        source: one of `sciml.sources`; anything else is data, given to the loss whole at every step.
        method: an optax transformation, an Optimistix minimiser, or, for a `LeastSquares` loss, an Optimistix
            least-squares solver (`training.LevenbergMarquardt()` is ours).
        steps: number of steps (most steps, for Optimistix methods), >= 1.
        key: randomness of the batches; the same key gives the same bits.
        trainable: what to train: None for every floating-point array (a Python float is a constant), a function
            `model -> parts` (a float that it selects by itself is trained), or a mask.
        monitor: one or several of `training.KeepBest`, `training.Log`; optax methods only.
        checkpoint: file to save the state of the fit to (or a `Checkpoint`); if it exists, the fit goes on from there
            and ends with the same bits. Ctrl-C keeps it. Optax methods only.
        progress: show a bar (if `tqdm` is installed).
        throw: whether a failure raises; if False, look at `result`.

    Returns:
        `Solution`: `value` is the model with its wrappers resolved; `state` is the model as it was trained (wrappers
        kept), to continue from; `stats` is `FitStats`, or `SecondOrderStats` for Optimistix methods.

    Raises:
        ValueError, TypeError: a loss without the structure that the method needs, `steps < 1`, nothing to train, a
        checkpoint of another fit.
        With `throw=True`, `RESULTS.diverged` if the loss or a parameter became NaN or infinite.

    Gradient: none; differentiate what the model does, not how it was fitted.
    """
    if steps < 1:
        raise invalid("steps", steps, "an integer >= 1", "say how many steps to take")
    check_key(key)
    monitors = tuple(monitor) if isinstance(monitor, tuple | list) else () if monitor is None else (monitor,)
    if isinstance(method, optax.GradientTransformation):
        parameters, rest = partition(model, trainable)
        job = Job(rest, loss, source if isinstance(source, AbstractSource) else Fixed(source), method, key)
        point = Checkpoint(str(checkpoint)) if isinstance(checkpoint, str | Path) else checkpoint
        solution = fit_first_order(parameters, job, steps, Watch(monitors, point, progress))
    elif isinstance(method, optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser):
        if monitors or checkpoint is not None:
            got = "a monitor or a checkpoint with an Optimistix method"
            raise invalid("monitor", got, "None", "these methods are short: fit in several calls instead")
        if isinstance(method, optx.AbstractLeastSquaresSolver) and not isinstance(loss, AbstractLeastSquares):
            fix = "wrap the residuals: `losses.LeastSquares(residuals)`"
            raise wrong_type("loss", type(loss).__name__, "a loss that declares residuals", fix)
        batch = source.batch(0, key=key).value if isinstance(source, AbstractSource) else source
        solution = fit_second_order(model, loss, batch, method, steps, trainable)
    else:
        expected = "an optax transformation or an Optimistix solver"
        raise wrong_type("method", repr(method), expected, "for instance `optax.adam(1e-3)`, called, not the function")
    if throw:
        solution = checked(solution, solution.result, {"diverged": _cause(solution.stats)})
    return solution


def _cause(stats: Any) -> str:
    """What happened where a fit diverged, and what to do."""
    losses, failed = np.ravel(getattr(stats, "losses", ())), np.ravel(getattr(stats, "failed", ()))
    wrong = np.flatnonzero(~np.isfinite(losses))
    text = "The loss, or a parameter, became NaN or infinite"
    if wrong.size:
        text = f"The loss became NaN or infinite at step {wrong[0]}"
        if failed[wrong[0]] > 0.0:
            text += f", where {failed[wrong[0]]:.0%} of the batch failed (the loss refuses more than `refuse_above`)"
    return (
        text
        + "; the model before it is kept. Evaluate the loss on the first batch, lower the learning rate or clip the "
        "gradient, and keep arguments of `log`, `sqrt` and divisions inside of their domain."
    )
