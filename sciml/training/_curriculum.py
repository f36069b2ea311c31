"""Fits over growing horizons."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..core import invalid, is_successful, Solution, wrong_type
from ..losses import FreeRun, Regularised
from ._doors import checkpoint_of
from ._fit import fit


def curriculum(
    model: Any,
    loss: Any,
    source: Any,
    method: Any,
    *,
    horizons: Sequence[int],
    steps: int,
    key: PRNGKeyArray,
    **options: Any,
) -> Solution:
    """Fits free runs over growing horizons, one after the other, in one compilation.

    Choose it where long free runs of a poor model diverge or have many local optima: short runs first bring it near.
    The horizon is an array of the loss, so another one does not compile again; every stage costs the full length of the
    windows, so use a few.

    Args:
        model: as in `fit`.
        loss: `losses.FreeRun`, or `losses.Regularised` around it; its own horizon is replaced.
        source: as in `fit`: windows at least as long as the last horizon.
        method: as in `fit`.
        horizons: samples that count in each stage, >= 1, increasing.
        steps: steps of each stage.
        key: as in `fit`; a stage that diverges is given up with a warning, and the next one goes on from the model
            before it.
        options: further arguments of `fit`; `throw` raises if the last stage fails. Every stage has a `checkpoint` of
            its own: the path, a dot, and its number from 0.

    Returns:
        The `Solution` of the last stage.

    Raises:
        ValueError: no horizon, or horizons that do not increase.
        TypeError: a loss without a horizon.

    Source: Bengio et al. (2009), Curriculum learning, DOI 10.1145/1553374.1553380.
    """
    if not horizons or min(horizons) < 1 or any(b <= a for a, b in zip(horizons, horizons[1:], strict=False)):
        fix = "write for instance (5, 20, 80)"
        raise invalid("horizons", tuple(horizons), "increasing numbers of samples, >= 1", fix)
    throw, checkpoint = options.pop("throw", True), checkpoint_of(options.pop("checkpoint", None))
    # Weak types (of Python numbers) become strong in the first stage, which would compile the second one anew.
    model = jax.tree.map(lambda leaf: leaf.astype(leaf.dtype) if eqx.is_array(leaf) else leaf, model)
    for k, horizon in enumerate(horizons):
        is_last = k == len(horizons) - 1
        stage = _with_horizon(loss, horizon)
        saved = checkpoint and dataclasses.replace(checkpoint, path=f"{checkpoint.path}.{k}")
        done = fit(
            model, stage, source, method, steps=steps, key=key, throw=throw and is_last, checkpoint=saved, **options
        )
        if is_last or bool(is_successful(done.result)):
            model = done.state
        else:
            warnings.warn(f"`curriculum`: the stage with horizon {horizon} diverged and is left out", stacklevel=2)
    return done


def _with_horizon(loss: Any, horizon: int) -> Any:
    if isinstance(loss, Regularised):
        return dataclasses.replace(loss, loss=_with_horizon(loss.loss, horizon))
    if not isinstance(loss, FreeRun):
        fix = "use `losses.FreeRun()`, or `losses.Regularised` around it"
        raise wrong_type("loss", type(loss).__name__, "a loss with a horizon", fix)
    return dataclasses.replace(loss, horizon=jnp.arange(horizon + 1)[horizon])
