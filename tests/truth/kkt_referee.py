"""An outside referee for small programs: what the solver claims is judged by these lines alone."""

import jax
import jax.numpy as jnp
import numpy as np

INF = np.inf


def referee(problem, x, ineq, eq) -> float:
    """The unscaled KKT residual, written apart from the library; multipliers of bounds from the sign of the slope.

    Args:
        problem: has `x0`, `f`, `g`, `h`, `lower`, `upper` as plain functions and lists.
        x, ineq, eq: the point; multipliers may be padded at the end.
    """
    n = len(problem.x0)
    lower = np.array(problem.lower or [-INF] * n)
    upper = np.array(problem.upper or [INF] * n)
    stack = lambda c: lambda x: jnp.stack([jnp.asarray(v) for v in c(x)]) if c(x) else jnp.zeros(0)
    values = [np.asarray(stack(c)(x)) for c in (problem.g, problem.h)]
    slopes = [np.asarray(jax.jacfwd(stack(c))(x)).reshape(-1, n) for c in (problem.g, problem.h)]
    ineq, eq = ineq[: len(values[0])], eq[: len(values[1])]
    slope = np.asarray(jax.grad(problem.f)(x)) + slopes[0].T @ ineq + slopes[1].T @ eq
    low, high = np.minimum(x - lower, 1.0), np.minimum(upper - x, 1.0)
    parts = [
        np.where(slope > 0, slope * np.abs(low), -slope * np.abs(high)),
        np.maximum(-low, 0.0), np.maximum(-high, 0.0), np.maximum(values[0], 0.0), np.abs(values[1]),
        np.abs(ineq * values[0]), np.maximum(-ineq, 0.0),
    ]  # fmt: skip
    return max(float(part.max(initial=0.0)) for part in parts)
