"""This library's solvers as they come, one call from the standard start."""

import jax.numpy as jnp
import numpy as np

from sciml import Program, RESULTS, solve, solvers
from sciml.core import is_successful

MAX_STEPS = 1000
OUTCOMES = (
    "successful",
    "max_steps_reached",
    "infeasible",
    "unbounded",
    "stalled",
    "nonfinite_start",
    "nonfinite_step",
    "contradictory_bounds",
)


def _solve(problem, solver):
    bounds = [bound if np.any(np.isfinite(bound)) else None for bound in (problem.lower, problem.upper)]
    ignoring = lambda block: None if block is None else lambda x, p: block(x)
    program = Program(
        lambda x, p: problem.objective(x),
        ineq=ignoring(problem.inequalities),
        eq=ignoring(problem.equalities),
        lower=bounds[0],
        upper=bounds[1],
    )
    found = solve(program, solver, jnp.asarray(problem.x0), max_steps=MAX_STEPS, throw=False)
    as_array = lambda block: np.zeros(0) if isinstance(block, tuple) else np.asarray(block)
    duals = {name: as_array(getattr(found.duals, name)) for name in ("eq", "ineq", "lower", "upper")}
    said = next(name for name in OUTCOMES if bool(found.result == getattr(RESULTS, name)))
    claimed = bool(is_successful(found.result))
    return {"x": found.value, **duals, "claimed": claimed, "said": said, "steps": int(found.stats.steps)}


def interior_point(problem):
    """`InteriorPoint()`."""
    return _solve(problem, solvers.InteriorPoint())


def sqp(problem):
    """`SQP()`."""
    return _solve(problem, solvers.SQP())


def augmented_lagrangian(problem):
    """`AugmentedLagrangian()`."""
    return _solve(problem, solvers.AugmentedLagrangian())
