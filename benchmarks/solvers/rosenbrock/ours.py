"""This library: `solve_batch` with `InteriorPoint()`, through slots by default."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import problem
from jax import Array

from sciml import Program, solve_batch
from sciml.solvers import InteriorPoint


class Decision(NamedTuple):
    x: Array
    y: Array


class Instance(NamedTuple):
    a: Array
    p: Array


class Limits(NamedTuple):  # feasible where every leaf is <= 0
    inner: Array
    outer: Array
    order: Array


def rosenbrock(z, p):
    """The objective."""
    return (1 - z.x) ** 2 + p.a * (z.y - z.x**2) ** 2


def limits(z, p):
    """The half annulus."""
    radius = z.x**2 + z.y**2
    return Limits((p.p / 2) ** 2 - radius, radius - p.p**2, z.y - z.x)


PROGRAM = Program(rosenbrock, ineq=limits)


def actions(data, solver):
    """The whole batch; compilation is what the first call takes more than the second."""
    ps = Instance(jnp.asarray(data["a"]), jnp.asarray(data["p"]))
    starts = Decision(*(jnp.full(len(data["a"]), value) for value in problem.START))

    def solution():
        found = solve_batch(PROGRAM, solver, starts, ps, progress=False)
        ineq = jnp.stack(found.duals.ineq, axis=1)
        ok, steps = found.stats.has_derivative, found.stats.steps
        return jax.block_until_ready({"z": jnp.stack(found.value, axis=1), "ineq": ineq, "ok": ok, "steps": steps})

    seconds = []
    for _ in range(2):
        start = time.process_time()
        solution()
        seconds.append(time.process_time() - start)
    return {"solve": solution}, {"solve": seconds[0] - seconds[1]}


def prepare(data):
    """One action."""
    return actions(data, InteriorPoint())
