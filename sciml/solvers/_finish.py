"""The end of an interior-point solve: the equations of the active set, tried where it has become clear."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Scalar

from ..core import tree_where
from ._state import Constants, distances, State

_CLEAR = 2.0  # ratio of distance and multiplier from which a row counts as clearly active or inactive
_ATTEMPTS = 3  # active sets tried in a row before the residual has to fall
_LATE, _AGAIN = 1e-4, 0.01  # barrier parameter of the first attempt, and its decrease between attempts


def finish(
    constants: Constants, state: State, residual: Scalar, mu: Scalar, tol: Scalar
) -> tuple[Int[Array, ""], tuple, Scalar]:
    """Whether this pass solves the equations of the active set, what to return to, and the barrier parameter then.

    Near the solution a semismooth Newton method needs two or three passes where the barrier needs one or two for each
    of its last parameters, and it ends with residuals at rounding. Rows with `y > -a` are equations; it goes on while
    the residual halves. An instance that gets within `tol` without it takes one such step too: a coarse tolerance,
    as in float32, leaves open which rows are active, and with them the derivatives.

    Source: Hintermüller, Ito & Kunisch (2002), The primal-dual active set strategy as a semismooth Newton method, DOI
    10.1137/S1052623401383558.
    """
    t = distances(constants, state.x, state.slack)
    larger, smaller = jnp.maximum(state.dual, t), jnp.minimum(state.dual, t)
    clear = jnp.all(jnp.where(constants.exists, larger >= _CLEAR * smaller, True))
    # Strictly lower: without rows the barrier parameter is zero soon, and attempts would never end.
    due = (mu < _AGAIN * state.finished_at) & (mu <= _LATE)
    solved = (residual <= tol) & ~jnp.isfinite(state.finished_at)
    begins = (state.finishing == 0) & ~state.restoring & ((clear & due) | solved) & (state.floor == 0.0)
    goes_on = (state.finishing > 0) & ((state.finishing < _ATTEMPTS) | (residual <= 0.5 * state.residual))
    now = (state.x, state.slack, state.dual, state.eq)
    count = jnp.where(begins | goes_on, state.finishing + 1, 0)
    return count, tree_where(begins, now, state.saved), jnp.where(begins, mu, state.finished_at)
