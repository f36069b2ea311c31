"""This library: `InteriorPoint()` on a `Program` by `solve_batch`; what instances share is shared (`in_axes`)."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
from harness.timing import compile_ahead
from jax import Array

from sciml import Program, solve, solve_batch
from sciml.solvers import InteriorPoint


class Instance(NamedTuple):
    quadratic: Array
    linear: Array
    equality: Array
    right: Array
    inequality: Array
    limit: Array


IN_AXES = Instance(None, None, None, 0, None, None)


def cost(y, p):
    """½ y'Qy + p'sin(y)."""
    return 0.5 * jnp.sum(p.quadratic * y**2) + jnp.sum(p.linear * jnp.sin(y))


PROGRAM = Program(
    cost,
    ineq=lambda y, p: p.inequality @ y - p.limit,
    eq=lambda y, p: p.equality @ y - p.right,
)


SLOTS = 64  # one slow instance holds up none of the others


def report(found):
    """What the referee reads."""
    duals, stats = found.duals, found.stats
    return {"y": found.value, "eq": duals.eq, "ineq": duals.ineq, "ok": stats.has_derivative, "steps": stats.steps}


def actions(data, solver):
    """The whole batch, and one instance (for its compilation, which comes first in this fresh process)."""
    shared = [jnp.asarray(data[name]) for name in ("Q", "p", "A", "x", "G", "h")]
    starts, ps = jnp.asarray(data["start"]), Instance(*shared)
    alone = lambda y0, p: report(solve(PROGRAM, solver, y0, p, throw=False))
    options = {"in_axes": IN_AXES, "slots": SLOTS, "progress": False}

    def every():
        return jax.block_until_ready(report(solve_batch(PROGRAM, solver, starts, ps, **options)))

    first = jax.tree.map(lambda axis, part: part if axis is None else part[0], IN_AXES, ps, is_leaf=lambda x: x is None)
    one, seconds = compile_ahead(alone, starts[0], first)
    begin = time.process_time()
    every()  # with its first run
    return {"one": one, "batch": every}, {"one": seconds, "batch": time.process_time() - begin}


def prepare(data):
    """The interior point."""
    return actions(data, InteriorPoint())
