"""Laws of `solve` over programs of every kind: jit = eager, vmap = loop, order does not matter, traced once."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful
from sciml.programs import Program
from sciml.solvers import AbstractSolver, InteriorPoint, Race, solve


class Member(NamedTuple):
    program: Program
    z0: jax.Array
    ps: jax.Array


def rosenbrock(z, p):
    return (1 - z[0]) ** 2 + p * (z[1] - z[0] ** 2) ** 2


SOLVERS: list[AbstractSolver] = [InteriorPoint(), Race(InteriorPoint())]
PROGRAMS: dict[str, Callable[[], Member]] = {
    "free": lambda: Member(Program(rosenbrock), jnp.array([-0.5, 0.5]), jnp.array([1.0, 5.0, 20.0])),
    "mixed": lambda: Member(
        Program(
            rosenbrock,
            ineq=lambda z, p: {"disc": jnp.sum(z**2) - 1.0},
            eq=lambda z, p: z[2] - z[0] * z[1],
            lower=lambda p: jnp.stack([-p, -p, -jnp.inf * p]),
        ),
        jnp.array([0.2, 0.1, 0.0]),
        jnp.array([1.0, 3.0, 10.0]),
    ),
}
CASES = [(solver, name) for solver in SOLVERS for name in PROGRAMS]
each = pytest.mark.parametrize(("solver", "name"), CASES, ids=lambda v: v if isinstance(v, str) else type(v).__name__)


@cache
def compiled(solver: AbstractSolver, name: str):
    member = PROGRAMS[name]()
    one = lambda p: solve(member.program, solver, member.z0, p, throw=False)
    # The door is compiled already; one more `jit` around `vmap` is traced at most once, for all batches.
    return member, one, eqx.filter_jit(eqx.debug.assert_max_traces(jax.vmap(one), max_traces=1))


@each
def test_batch_equals_loop_and_traces_once(solver: AbstractSolver, name: str):
    member, one, batch = compiled(solver, name)
    together, alone = batch(member.ps), [one(p) for p in member.ps]
    assert bool(jnp.all(is_successful(together.result)))
    for i, single in enumerate(alone):
        np.testing.assert_allclose(together.value[i], single.value, atol=1e-9)
        np.testing.assert_array_equal(together.stats.steps[i], single.stats.steps)
    backwards = batch(member.ps[::-1] * 1.0)
    np.testing.assert_allclose(backwards.value[::-1], together.value, atol=1e-12)


@each
def test_result_does_not_depend_on_the_neighbours(solver: AbstractSolver, name: str):
    member, _, batch = compiled(solver, name)
    other = batch(member.ps.at[0].set(jnp.nan))
    assert not bool(is_successful(other.result)[0])
    assert bool(jnp.all(jnp.isfinite(other.value)))
    np.testing.assert_allclose(other.value[1:], batch(member.ps).value[1:], atol=1e-12)
