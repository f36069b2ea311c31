"""The recursion over the stages as a solver's choice: the same answers and derivatives with both."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful
from sciml.programs import guess, OptimalControl, transcribe
from sciml.solvers import Associative, InteriorPoint, Race, Sequential, solve, solve_batch, SQP

N = 3  # odd, so that the tree has a step without a partner

LINEAR = OptimalControl(
    dynamics=lambda x, u, w, p: jnp.stack([x[0] + 0.3 * x[1], x[1] + 0.3 * u[0] + w]),
    stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
    initial=lambda p: p["x0"],
    exogenous=lambda p: p["w"],
    horizon=N,
    terminal=lambda x, p: 3.0 * x @ x,
    u_lower=-1.0,
    u_upper=1.0,
)
PENDULUM = OptimalControl(
    dynamics=lambda x, u, w, p: x + 0.3 * jnp.stack([x[1], u[0] - jnp.sin(x[0]) + w]),
    stage=lambda x, u, w, p: (x[0] - w) ** 2 + 0.1 * x[1] ** 2 + 0.1 * u @ u,
    initial=lambda p: p["x0"],
    exogenous=lambda p: p["w"],
    horizon=N,
    path=lambda x, u, w, p: u[0] * x[1] - 0.5,
    u_lower=-1.0,
    u_upper=1.0,
)
PROBLEMS = {"linear": LINEAR, "pendulum": PENDULUM}


def instance():
    return {"x0": jnp.array([1.0, 0.9]), "w": 0.1 * jnp.sin(jnp.arange(1.0 * N))}


def one(name, solver, p):
    problem = PROBLEMS[name]
    z0 = guess(problem, jnp.zeros((N, 1)), p)
    return solve(transcribe(problem), solver, z0, p, throw=False)


def plans(name, solver):
    """Plans with multipliers, and the gradient of a function of them with respect to the whole horizon of `w`."""

    def total(p):
        solution = one(name, solver, p)
        return jnp.sum(jnp.sin(solution.value.u)) + jnp.sum(solution.value.x**2), solution

    gradient, solution = jax.jit(jax.grad(total, has_aux=True))(instance())
    assert jnp.all(is_successful(solution.result))
    return solution.value, solution.duals, gradient


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("linear", InteriorPoint),
        pytest.param("pendulum", SQP, marks=pytest.mark.slow),
        pytest.param("linear", SQP, marks=pytest.mark.slow),
        pytest.param("pendulum", InteriorPoint, marks=pytest.mark.slow),
    ],
)
def test_answers_and_gradients_agree(name, kind):
    # The tolerance is far below 1e-8 / curvature, so that both end at rounding.
    first, second = (plans(name, kind(tol=1e-11, scan=scan)) for scan in (Sequential(), Associative()))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    value, _, gradient = first
    assert jnp.any(jnp.abs(value.u) > 1.0 - 1e-9)  # bounds are active
    assert gradient["w"].shape == (N,) and jnp.all(gradient["w"] != 0)


def loops(solver):
    """How many loops over all stages there are in the solve and its gradient: the recursions one stage at a time."""
    program = jax.make_jaxpr(jax.grad(lambda p: jnp.sum(one("linear", solver, p).value.u)))(instance())
    return len(re.findall(rf"\blength={N}\b", str(program)))


def test_the_choice_reaches_loop_and_derivative():
    # What is left is the guess, which is a scan over time by itself, and its transpose.
    assert loops(InteriorPoint(scan=Associative())) < 4 < loops(InteriorPoint())
    assert loops(Race(SQP(scan=Associative()))) < 4


@pytest.mark.slow
def test_slots_follow_the_choice():
    problem, ps = PROBLEMS["linear"], jax.tree.map(lambda v: jnp.stack([v, 0.5 * v]), instance())
    z0s = jax.vmap(lambda p: guess(problem, jnp.zeros((N, 1)), p))(ps)
    found = [
        solve_batch(transcribe(problem), InteriorPoint(scan=scan), z0s, ps, progress=False)
        for scan in (Sequential(), Associative())
    ]
    np.testing.assert_allclose(found[0].value.u, found[1].value.u, atol=1e-8)
