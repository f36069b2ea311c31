"""`fit`: one verb for first-order and second-order methods."""

from pathlib import Path
from typing import Any

import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from ..core import check_key, checked, Solution, wrong_type
from ..sources import AbstractSource, Fixed
from ._doors import check_loss, check_steps, checkpoint_of, is_second_order, monitors_of, whole
from ._first_order import fit_first_order, Job
from ._monitors import AbstractMonitor
from ._parameters import partition
from ._second_order import fit_watched, prepare, SecondOrderStats
from ._watch import Checkpoint, Watch


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
        source: one of `sciml.sources`; anything else is data, given to the loss whole at every step, None for a loss
            that holds its own. An Optimistix method is given all instances of a source at every step.
        method: an optax transformation, an Optimistix minimiser, or, for a `LeastSquares` loss, an Optimistix
            least-squares solver (`training.LevenbergMarquardt()` is ours).
        steps: number of steps (most steps, for Optimistix methods), >= 1.
        key: randomness of the batches; the same key gives the same bits.
        trainable: what to train: None for every floating-point array (a Python float is a constant), a function
            `model -> parts` (a float that it selects by itself is trained), or a mask.
        monitor: one or several of `training.KeepBest`, `training.Log`.
        checkpoint: file to save the state of the fit to (or a `Checkpoint`); if it exists, the fit goes on from there
            and ends with the same bits. Ctrl-C keeps it. The file knows the arrays and numbers of start, data, loss
            and method, bit for bit; what functions hold inside is yours to keep the same.
        progress: show a bar (if `tqdm` is installed).
        throw: whether a failure raises; if False, look at `result`.

    Returns:
        `Solution`: `value` is the model with its wrappers resolved; `state` is the model as it was trained (wrappers
        kept), to continue from; `stats` is `FitStats`, or `SecondOrderStats` for Optimistix methods.

    Raises:
        ValueError, TypeError: a loss without the structure that the method needs, `steps < 1`, nothing to train, a
            checkpoint of another fit, a loss that is no scalar or has no residuals.
        EquinoxRuntimeError: with `throw=True`, `RESULTS.diverged` if the loss or a parameter became NaN or infinite.

    Gradient: none; differentiate what the model does, not how it was fitted.

    Examples:
        ```python
        xs = jnp.linspace(0.0, 1.0, 20)
        loss = sciml.losses.LeastSquares(lambda slope, data: slope * data[0] - data[1])
        method = sciml.training.LevenbergMarquardt()
        fitted = sciml.fit(jnp.array(0.0), loss, (xs, 2 * xs), method, steps=20, key=jax.random.key(0), progress=False)
        assert jnp.isclose(fitted.value, 2.0)
        ```
    """
    check_steps(steps)
    check_key(key)
    check_loss(loss)
    watch = Watch(monitors_of(monitor), checkpoint_of(checkpoint), progress)
    if isinstance(method, optax.GradientTransformation):
        parameters, rest = partition(model, trainable)
        job = Job(rest, loss, source if isinstance(source, AbstractSource) else Fixed(source), method, key)
        solution = fit_first_order(parameters, job, steps, watch)
    elif is_second_order(method, loss):
        parameters, task = prepare(model, loss, whole(source), method, trainable)
        solution = fit_watched(parameters, task, steps, key, watch)
    else:
        expected = "an optax transformation or an Optimistix solver"
        raise wrong_type("method", repr(method), expected, "for instance `optax.adam(1e-3)`, called, not the function")
    if throw:
        solution = checked(solution, solution.result, {"diverged": _cause(solution.stats)})
    return solution


def _cause(stats: Any) -> str:
    """What happened where a fit diverged, and what to do."""
    inside = "and keep arguments of `log`, `sqrt` and divisions inside of their domain."
    losses, failed = np.ravel(stats.losses)[: int(stats.steps)], np.ravel(getattr(stats, "failed", ()))
    if isinstance(stats, SecondOrderStats):
        if not np.any(np.isfinite(losses)):
            return f"The loss is NaN or infinite at the start; begin from parameters where it is finite, {inside}"
        method = "choose a method that rejects such steps, as `training.LevenbergMarquardt` does"
        return f"A step led to a loss or a parameter that is NaN or infinite; {method}, {inside}"
    wrong = np.flatnonzero(~np.isfinite(losses))
    text = "The loss, or a parameter, became NaN or infinite"
    if wrong.size:
        text = f"The loss became NaN or infinite at step {wrong[0]}"
        if failed.size and failed[wrong[0]] > 0.0:
            text += f", where {failed[wrong[0]]:.0%} of the batch failed (the loss refuses more than `refuse_above`)"
    return (
        text
        + "; the model before it is kept. Evaluate the loss on the first batch, lower the learning rate or clip the "
        f"gradient, {inside}"
    )
