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
    """A report on how far the derivative of `solution` can be trusted, for one instance; `jax.vmap` makes the batch.

    Args:
        program: the program that was solved.
        solution: the return value of `solve`.
        p: the instance.
        sensitivity: how the solution is differentiated, as in `KKTAdjoint`.

    Returns:
        `Health`: margin of strict complementarity, smallest pivot, residual of the linear solve, and estimated relative
        error of the derivative. For a failed instance, margin and pivot are zero, residual and error infinite.

    Raises:
        TypeError: if `sensitivity` is not an `AbstractSensitivity`.

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
