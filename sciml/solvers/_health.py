"""A report on how far the derivative of a solution can be trusted."""

from typing import Any

import jax
import jax.numpy as jnp

from ..core import as_arrays, as_floats, is_successful, ravel, Solution, stop_gradient
from ..programs import AbstractProgram, flatten
from ._sensitivity import AbstractSensitivity, ActiveSet, check_sensitivity, Health, health_at


def derivative_health(
    program: AbstractProgram, solution: Solution, p: Any = None, *, sensitivity: AbstractSensitivity = ActiveSet()
) -> Health:
    """How far the derivative of `solution` can be trusted, for one instance; `jax.vmap` makes the batch.

    Args:
        program: the program that was solved.
        solution: what `solve` returned.
        p: the instance.
        sensitivity: how the solution is differentiated, as in `KKTAdjoint`.

    Returns:
        `Health`: strict-complementarity margin, smallest pivot, residual of the linear solve, relative error to
        be expected of the derivative. A failed instance has a margin and a pivot of zero; residual and error are
        infinite.

    Raises:
        TypeError: if `sensitivity` is of another kind.

    Gradient: none (zero).
    """
    check_sensitivity(sensitivity)
    solution, p = stop_gradient((solution, p))
    z, p = as_floats(solution.value, "solution.value"), as_arrays(p)
    flat, _, x = flatten(program, z, p)
    vector = lambda tree: ravel(tree)[0].astype(x.dtype)
    root = jnp.concatenate([x, vector(solution.duals.ineq), vector(solution.duals.eq)])
    with jax.default_matmul_precision("highest"):
        return health_at(flat, sensitivity, root, p, is_successful(solution.result))
