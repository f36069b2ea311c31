"""Elastic programs: the same solution where there is one, else the cheapest violation, and always a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful
from sciml.programs import elastic, OptimalControl, Program, QuadraticProgram, Shooting, transcribe
from sciml.solvers import InteriorPoint, InteriorPointQP, solve

rng = np.random.default_rng(0)
ROOT, A, G = rng.normal(size=(6, 6)), rng.normal(size=(2, 6)), rng.normal(size=(4, 6))
QP = QuadraticProgram(ROOT @ ROOT.T + np.eye(6), rng.normal(size=6), A, lambda p: p, G, np.full(4, 0.3), -1.0, 1.0)
LEVELS = jnp.array([[0.2, 0.1], [20.0, 1.0]])  # the second is out of reach of the bounds
SOFT = elastic(QP, ineq=100.0, eq=lambda p: 100.0 + 0 * p)


@jax.jit
def relaxed(levels):
    return jax.vmap(lambda b: solve(SOFT, InteriorPointQP(), SOFT.start(jnp.zeros(6), b), b, throw=False))(levels)


def test_exact_where_feasible():
    hard = jax.vmap(lambda b: solve(QP, InteriorPointQP(), jnp.zeros(6), b, throw=False))(LEVELS)
    soft = relaxed(LEVELS)
    assert is_successful(hard.result).tolist() == [True, False] and np.all(is_successful(soft.result))
    np.testing.assert_allclose(soft.value.z[0], hard.value[0], atol=1e-9)
    np.testing.assert_allclose(soft.duals.ineq[0], hard.duals.ineq[0], atol=1e-8)


def test_cheapest_violation():
    """Against the linear program of the violation alone, and by multipliers at their price."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    soft = relaxed(LEVELS)
    up, down = np.asarray(soft.value.above[1]), np.asarray(soft.value.below[1])
    np.testing.assert_allclose(A @ soft.value.z[1] - up + down, LEVELS[1], atol=1e-9)
    one = np.eye(2)
    rows = np.concatenate([G, -np.eye(4), np.zeros((4, 4))], axis=1)
    columns = np.concatenate([A, np.zeros((2, 4)), -one, one], axis=1)
    cost, bounds = np.r_[np.zeros(6), np.ones(8)], [(-1, 1)] * 6 + [(0, None)] * 8
    least = linprog(cost, rows, np.full(4, 0.3), columns, LEVELS[1], bounds).fun
    assert np.sum(up + down) + np.sum(soft.value.ineq[1]) == pytest.approx(least, rel=1e-6)
    assert np.max(np.abs(soft.duals.eq[1])) == pytest.approx(100.0)


@pytest.mark.parametrize("instance", [0, 1])
def test_has_a_derivative(instance: int):
    step = 1e-4
    moved = LEVELS[instance] + step * jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    ends = relaxed(moved).value.z
    _, tangent = jax.jvp(lambda b: relaxed(b[None]).value.z[0], (LEVELS[instance],), (jnp.array([1.0, 0.0]),))
    np.testing.assert_allclose(tangent, (ends[0] - ends[1]) / (2 * step), atol=1e-6)


def test_functions_and_partly_hard():
    """A disc that may be left at a price and a line that may not; the price is the multiplier of the disc."""
    ineq = lambda z, p: {"disc": jnp.sum(z**2) - 1.0, "line": z[0] - p}
    program = Program(lambda z, p: -3.0 * z[0] - z[1], ineq=ineq)
    soft = elastic(program, ineq={"disc": 0.5, "line": None})
    start = soft.start(jnp.array([2.0, 2.0]), 1.0)
    assert start.ineq == {"disc": 7.0, "line": None}
    found = solve(soft, InteriorPoint(), start, jnp.asarray(1.0))
    # ½ (z² - 1) with z0 <= 1: z1 = 1 by 2 · ½ z1 = 1, z0 = 1 by the line.
    np.testing.assert_allclose(found.value.z, [1.0, 1.0], atol=1e-7)
    assert found.value.ineq["disc"] == pytest.approx(1.0)
    assert found.duals.ineq["disc"] == pytest.approx(0.5)


def cart(limit: float) -> OptimalControl:
    """A double integrator that starts beyond its limit of position."""
    advance = lambda x, u, w, p: jnp.stack([x[0] + 0.5 * x[1], x[1] + 0.5 * u[0]])
    stage = lambda x, u, w, p: 0.1 * jnp.sum(x**2) + jnp.sum(u**2)
    path = lambda x, u, w, p: {"position": x[:1] - limit}
    return OptimalControl(advance, stage, lambda p: p, 6, path=path, u_lower=-1.0, u_upper=1.0)


def test_soft_path_limits_keep_the_stages():
    """The start violates the limit, whatever the inputs do: as a hard limit there is no solution."""
    program, p = transcribe(cart(0.5)), jnp.array([1.0, 0.5])
    z0 = Shooting(jnp.zeros((6, 2)), jnp.zeros((6, 1)))
    soft = elastic(program, ineq=(10.0, None), curvature=1.0)
    found = jax.jit(lambda p: solve(soft, InteriorPoint(), soft.start(z0, p), p, throw=False))(p)
    assert bool(is_successful(found.result))
    assert soft.structure is not None
    plain = Program(program.objective, program.ineq, program.eq, program.lower, program.upper)
    dense = elastic(plain, ineq=(10.0, None), curvature=1.0)
    same = jax.jit(lambda p: solve(dense, InteriorPoint(), dense.start(z0, p), p, throw=False))(p)
    np.testing.assert_allclose(found.value.z.u, same.value.z.u, atol=1e-6)
    assert found.value.ineq[0]["position"][0, 0] == pytest.approx(0.5, abs=1e-7)


def test_bad_weights():
    program = Program(lambda z, p: jnp.sum(z**2), ineq=lambda z, p: z)
    with pytest.raises(ValueError, match="`ineq, eq`: got neither; expected a weight for at least one"):
        elastic(program)
    with pytest.raises(ValueError, match="`eq`: got a weight; expected None: the program has no such constraint"):
        elastic(program, eq=1.0)
    with pytest.raises(ValueError, match="`ineq`: got -1.0; expected positive weights"):
        elastic(program, ineq=-1.0)
    with pytest.raises(ValueError, match="`ineq`: got weights .*give one number for all constraints"):
        elastic(program, ineq={"a": 1.0}).start(jnp.zeros(2))
    hard_dynamics = elastic(transcribe(cart(0.5)), eq=1.0)
    p, z0 = jnp.ones(2), Shooting(jnp.zeros((6, 2)), jnp.zeros((6, 1)))
    with pytest.raises(
        ValueError, match="`ineq, eq`: got soft equalities or terminal limits; expected soft path limits"
    ):
        solve(hard_dynamics, InteriorPoint(), hard_dynamics.start(z0, p), p)
