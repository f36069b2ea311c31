"""Many starts in one compiled program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, Scalar

from ..core import batch_size, resolve, RESULTS, Solution, wrong_type
from ..losses import AbstractLeastSquares
from ._doors import check_loss, check_steps, is_second_order, whole
from ._gauss_newton import LevenbergMarquardt
from ._parameters import partition
from ._second_order import fit_second_order


class EnsembleStats(eqx.Module):
    """How the members of an ensemble fared."""

    losses: Float[Array, " member"]
    """The final loss of each member; infinite for a member that failed."""
    order: Int[Array, " member"]
    """Members from the best to the worst."""
    failed: Scalar
    """Fraction of members that diverged."""
    matrix: Float[Array, "member n n"] | None
    """`JᵀJ` of every member."""


def ensemble(models: Any, loss: Any, batch: Any, method: Any, *, steps: int, trainable: Any = None) -> Solution:
    """The best of several fits that differ in their start, all in one compiled program.

    Members do not disturb each other: one that diverges is isolated and counted. For Optimistix methods; the cost of
    further members is small as long as the processor has vector units to spare.

    Args:
        models: a model whose arrays all have a leading axis, the member (`equinox.filter_vmap` of a constructor).
        loss: as in `fit`.
        batch: the data, shared by all members, or a source with a finite number of instances.
        method: an Optimistix least-squares solver or minimiser, such as `training.LevenbergMarquardt()`.
        steps: most steps of each member, >= 1.
        trainable: as in `fit`.

    Returns:
        `Solution`: `value` the best member's resolved model; `state` all members as trained (wrappers kept), in the
        given order; `stats` is `EnsembleStats`; `result` is a failure only if every member failed.

    Raises:
        ValueError, TypeError: models without a common leading axis, `steps < 1`, a loss without the structure that the
            method needs, a method that is none of Optimistix, fresh samples without end as the data.
    """
    check_steps(steps)
    check_loss(loss)
    if not is_second_order(method, loss):
        fix = "use `training.LevenbergMarquardt()`, or `fit` every member by itself"
        raise wrong_type("method", type(method).__name__, "an Optimistix solver", fix)
    batch = whole(batch)
    batch_size(eqx.filter(models, eqx.is_array), "models")
    arrays, static = eqx.partition(models, eqx.is_array)

    def one(member: Any) -> Solution:
        return fit_second_order(eqx.combine(member, static), loss, batch, method, steps, trainable)

    first = eqx.combine(jtu.tree_map(lambda x: x[0], arrays), static)
    partition(first, trainable)
    if isinstance(loss, AbstractLeastSquares):
        loss.structure(resolve(first), batch)
    if isinstance(method, LevenbergMarquardt):
        # The members share the memory.
        method = dataclasses.replace(method, memory=method.memory / batch_size(arrays, "models"))
    fits = eqx.filter_vmap(one)(arrays)
    sound = fits.result == RESULTS.successful
    losses = jnp.where(sound, fits.stats.loss, jnp.inf)
    order = jnp.argsort(losses)
    best = pick_member(fits.state, order[0])
    result = RESULTS.where(jnp.any(sound), RESULTS.successful, RESULTS.diverged)
    failed = jnp.mean((~sound).astype(losses.dtype))
    return Solution(resolve(best), result, EnsembleStats(losses, order, failed, fits.stats.matrix), state=fits.state)


def pick_member(models: Any, index: Any) -> Any:
    """One member (or, for an array of indices, several) of stacked models."""
    return jtu.tree_map(lambda x: x[index] if eqx.is_array(x) else x, models)
