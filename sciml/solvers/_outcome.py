"""What a loop leaves behind, as one vector with its result: the same for `solve` and for slots."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..core import is_successful, RESULTS
from ..programs import FlatProgram
from ._abstract import AbstractSolver


class Counters(eqx.Module):
    """How the loop went."""

    steps: Array
    barrier: Array
    restorations: Array


def outcome(
    program: FlatProgram, solver: AbstractSolver, constants: Any, x0: Array, state: Any, steps: Array, p: Any
) -> tuple[Array, Any]:
    """The root `[x, λ, ν]`, and (result, state, counters), of a loop that ended in `state` after `steps`."""
    point, result, (barrier, restorations) = solver.finish(program, constants, state, p)
    out_of_steps = is_successful(result) & ~solver.is_answer(state)
    limit = RESULTS.max_steps_reached
    result = RESULTS.where(out_of_steps, limit, result)  # pyright: ignore[reportArgumentType]
    root = jnp.concatenate([point.x, point.ineq, point.eq])
    # NaN is never a report.
    start = jnp.where(jnp.isfinite(x0), x0, 0.0)
    root = jnp.where(jnp.all(jnp.isfinite(root)), root, jnp.concatenate([start, jnp.zeros_like(root[x0.size :])]))
    return root, (result, state, Counters(steps, barrier, restorations))
