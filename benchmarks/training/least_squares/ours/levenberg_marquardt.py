"""`training.LevenbergMarquardt`: one step from the start, where its system is known."""

import resource

import jax
import numpy as np
from harness.timing import compile_ahead
from problems import build

from sciml.losses import LeastSquares, MeanSquares
from sciml.training import LevenbergMarquardt


def prepare(case, data):
    """A step: linear solve, trial, and the system at the new point."""
    problem, method = build(case, data), LevenbergMarquardt(damping=100.0)
    if problem.terms is None:
        loss, batch = LeastSquares(lambda v, _: problem.whole(v)), None
    else:
        functions = tuple(f for f, _, _ in problem.terms)
        batch = tuple(samples for _, samples, _ in problem.terms)
        loss = MeanSquares(functions, tuple(s * len(jax.tree.leaves(d)[0]) ** 0.5 for _, d, s in problem.terms))
    fn = lambda v, _: (loss.residuals(v, batch), None)
    options = lambda v: {"structure": loss.structure(v, batch)}
    out = jax.eval_shape(lambda v: fn(v, None)[0], problem.flat)
    state = method.init(fn, problem.flat, None, {}, out, None, frozenset())
    step = jax.jit(lambda v, state: method.step(fn, v, None, options(v), state, frozenset())[:2])
    flat, state = step(problem.flat, state)
    call, seconds = compile_ahead(step, flat, state)

    def act():
        _, new = call()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"cost": np.asarray(new.system.cost), "peak": np.asarray(peak)}

    return {"step": act}, {"step": seconds}
