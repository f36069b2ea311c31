"""Fits by Optimistix: least squares and minimisation of the whole loss, in one compiled program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, Int

from ..core import RESULTS, Solution, tree_allfinite, tree_size
from ..losses import AbstractLeastSquares
from ._parameters import partition, resolve


class SecondOrderStats(eqx.Module):
    """How a second-order fit went."""

    steps: Int[Array, "*batch"]
    loss: Float[Array, "*batch"]
    """The loss at the returned model."""
    matrix: Float[Array, "*batch n n"] | None
    """`JᵀJ` over the flattened trained parameters (None if the method does not offer it)."""


def fit_second_order(model: Any, loss: Any, batch: Any, method: Any, steps: int, trainable: Any) -> Solution:
    """See `fit`."""
    parameters, rest = partition(model, trainable)
    sparsity = loss.sparsity(resolve(model), batch) if isinstance(loss, AbstractLeastSquares) else None
    if sparsity is not None and np.size(sparsity.groups) != tree_size(parameters):
        sparsity = None  # it speaks of all parameters, and some are not trained
    return _run(parameters, rest, loss, batch, method, sparsity, steps)


@eqx.filter_jit
def _run(parameters: Any, rest: Any, loss: Any, batch: Any, method: Any, sparsity: Any, steps: int) -> Solution:
    args = (rest, loss, batch)
    options = {"sparsity": sparsity}
    if isinstance(method, optx.AbstractLeastSquaresSolver):
        solution = optx.least_squares(
            _residuals, method, parameters, args, options, max_steps=steps, throw=False, adjoint=_NoAdjoint()
        )
    else:
        solution = optx.minimise(_value, method, parameters, args, max_steps=steps, throw=False, adjoint=_NoAdjoint())
    final = _value(solution.value, args)
    sound = jnp.isfinite(final) & tree_allfinite(solution.value)
    # Reaching `steps` is what was asked for, not a failure.
    result = RESULTS.where(sound, RESULTS.successful, RESULTS.diverged)
    trained = eqx.combine(solution.value, rest)
    stats = SecondOrderStats(solution.stats["num_steps"], final, solution.stats.get("matrix"))
    return Solution(resolve(trained), result, stats, state=trained)


class _NoAdjoint(optx.AbstractAdjoint):
    """A plain loop: fits are not differentiated."""

    def apply(self, primal_fn: Any, rewrite_fn: Any, inputs: Any, tags: Any) -> Any:
        """Runs the loop."""
        return primal_fn((*inputs, _while_loop))


def _while_loop(cond: Any, body: Any, carry: Any, *, max_steps: int) -> Any:
    """`lax.while_loop` with a limit on the number of steps."""
    dynamic, static = eqx.partition(carry, eqx.is_array)

    def inner_cond(state: Any) -> Any:
        return (state[1] < max_steps) & cond(eqx.combine(state[0], static))

    def inner_body(state: Any) -> Any:
        new = body(eqx.combine(state[0], static))
        new = jax.tree.map(
            lambda a, b: a.astype(b.dtype) if eqx.is_array(b) else a, eqx.filter(new, eqx.is_array), state[0]
        )
        return new, state[1] + 1

    final, _ = jax.lax.while_loop(inner_cond, inner_body, (dynamic, jnp.asarray(0)))
    return eqx.combine(final, static)


def _residuals(parameters: Any, args: Any) -> Any:
    rest, loss, batch = args
    return loss.residuals(resolve(eqx.combine(parameters, rest)), batch)


def _value(parameters: Any, args: Any) -> Any:
    rest, loss, batch = args
    return loss(resolve(eqx.combine(parameters, rest)), batch)
