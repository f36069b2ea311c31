"""The Hessians of `SQP`: the same solution and derivative by each, and what they cost in iterations."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from sciml.core import is_successful, RESULTS
from sciml.programs import elastic, flatten, guess, OptimalControl, Program, QuadraticProgram, transcribe
from sciml.solvers import (
    ExactHessian,
    GaussNewton,
    InteriorPoint,
    Regularised,
    solve,
    solve_batch,
    SQP,
    StageGaussNewton,
)
from sciml.solvers._evaluate import Scaling

TIMES = np.linspace(0.0, 2.0, 12)
TRUE = np.array([2.0, 1.5, 0.4])
NOISE = 0.05 * np.sin(7.0 * np.arange(12.0))


def curve(z, times):
    """`a exp(-b t) + c`."""
    return z["a"] * jnp.exp(-z["b"] * times) + z["c"]


def misfit(z, p):
    times = jnp.asarray(TIMES, z["a"].dtype)
    return {"readings": curve(z, times) - p}


# The value at the start is known, the rate and the offset are limited.
FIT = Program(
    lambda z, p: 0.5 * jnp.sum(misfit(z, p)["readings"] ** 2),
    eq=lambda z, p: z["a"] + z["c"] - 2.4,
    lower={"a": None, "b": 0.0, "c": 0.45},
    upper={"a": None, "b": 5.0, "c": None},
)
START = {"a": 1.0, "b": 0.5, "c": 1.0}
READINGS = TRUE[0] * np.exp(-TRUE[1] * TIMES) + TRUE[2] + NOISE
HESSIANS = {
    "exact": ExactHessian(),
    "gauss": GaussNewton(misfit),
    "proximal": Regularised(0.05),
    "levenberg": Regularised(1.0, GaussNewton(misfit)),
}


@partial(jax.jit, static_argnums=0)
def fit(name, readings):
    z0 = jax.tree.map(lambda v: jnp.asarray(v, readings.dtype), START)
    return solve(FIT, SQP(hessian=HESSIANS[name]), z0, readings, throw=False)


@pytest.fixture(scope="module")
def by_scipy():
    def cost(v):
        return 0.5 * np.sum((v[0] * np.exp(-v[1] * TIMES) + v[2] - READINGS) ** 2)

    bounds = [(None, None), (0.0, 5.0), (0.45, None)]
    equality = {"type": "eq", "fun": lambda v: v[0] + v[2] - 2.4}
    found = minimize(cost, list(START.values()), bounds=bounds, constraints=[equality], options={"ftol": 1e-15})
    return found.x


@pytest.mark.parametrize("name", HESSIANS)
def test_constrained_fit_against_scipy(name, by_scipy):
    solution = fit(name, jnp.asarray(READINGS))
    assert bool(is_successful(solution.result))
    assert float(solution.stats.residual.largest) <= 1e-8
    # SciPy stops at about the root of its tolerance of 1e-15.
    np.testing.assert_allclose(list(solution.value.values()), by_scipy, atol=1e-6)
    assert float(solution.value["c"]) == pytest.approx(0.45)  # the bound is active
    assert int(solution.stats.steps) <= (20 if name in ("exact", "gauss") else 60)


def test_steps_of_each_hessian():
    """With small residuals Gauss-Newton is not far from exact second derivatives; a large shift is a slow one."""
    steps = {name: int(fit(name, jnp.asarray(READINGS)).stats.steps) for name in HESSIANS}
    assert steps["exact"] <= steps["gauss"] <= 2 * steps["exact"]
    assert steps["levenberg"] > 2 * steps["gauss"]
    assert steps["exact"] < steps["proximal"]


def test_derivative_of_the_fit_is_exact_whatever_the_hessian():
    rate = lambda name: jax.grad(lambda readings: fit(name, readings).value["b"])(jnp.asarray(READINGS))
    exact = rate("exact")
    np.testing.assert_allclose(rate("gauss"), exact, rtol=1e-6, atol=1e-8)
    ends = [float(fit("gauss", jnp.asarray(READINGS).at[3].add(d)).value["b"]) for d in (1e-5, -1e-5)]
    assert float(exact[3]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_batch_in_slots_in_float32_and_traced_once():
    @jax.jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def run(readings):
        z0s = jax.tree.map(lambda v: jnp.full(readings.shape[:1], v, readings.dtype), START)
        return solve_batch(FIT, SQP(hessian=HESSIANS["gauss"]), z0s, readings, slots=2)

    many = (READINGS + 0.02 * np.cos(np.arange(5.0))[:, None]).astype(np.float32)
    for readings in (many, many[::-1]):
        found = run(jnp.asarray(readings))
        assert np.all(np.asarray(is_successful(found.result)))
        assert found.value["b"].dtype == jnp.float32
    alone = fit("gauss", jnp.asarray(many[1], float))
    # The objective is flat to 1e-4 in float32 where its gradient is within the tolerance.
    np.testing.assert_allclose(found.value["b"][3], alone.value["b"], atol=5e-3)


N = 6


def cart(x, u, w, p):
    """Position and speed after 0.2 s under a force and a drag that grows with the square of the speed."""
    return {"s": x["s"] + 0.2 * x["v"], "v": x["v"] + 0.2 * (u - p["drag"] * x["v"] * jnp.abs(x["v"]))}


def track(x, u, w, p):
    return {"s": 3.0 * (jnp.sin(x["s"]) - w), "u": 0.3 * u}


def arrive(x, p):
    return 4.0 * (jnp.sin(x["s"]) - 0.5)


def half_square(tree):
    return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))


CONTROL = OptimalControl(
    dynamics=cart,
    stage=lambda x, u, w, p: half_square(track(x, u, w, p)),
    terminal=lambda x, p: half_square(arrive(x, p)),
    initial=lambda p: {"s": p["s"], "v": jnp.zeros_like(p["s"])},
    exogenous=lambda p: jnp.linspace(0.0, 0.5, N),
    path=lambda x, u, w, p: x["v"] - 0.6,
    horizon=N,
    u_lower=-2.0,
    u_upper=2.0,
)
P = {"s": jnp.asarray(-0.2), "drag": jnp.asarray(0.3)}
BY_STAGE = StageGaussNewton(track, arrive)


def test_stage_residuals_reach_the_same_plan():
    z0 = guess(CONTROL, jnp.zeros(N), P)
    exact = solve(transcribe(CONTROL), InteriorPoint(tol=1e-10), z0, P, throw=False)
    by_stage = solve(transcribe(CONTROL), SQP(hessian=BY_STAGE), z0, P, throw=False)
    assert bool(is_successful(exact.result)) and bool(is_successful(by_stage.result))
    np.testing.assert_allclose(by_stage.value.u, exact.value.u, atol=1e-6)
    assert np.max(exact.duals.ineq[0]) > 1e-3  # the speed limit is active
    assert int(by_stage.stats.steps) <= 25


def test_stage_model_is_that_of_the_dense_residual():
    """`(Jᵀ J + shift I) v`, stage by stage and by one dense Jacobian of all residuals."""
    z0, program = guess(CONTROL, jnp.full(N, 0.3), P), transcribe(CONTROL)

    def residual(z, p):
        before = jax.tree.map(lambda x0, xs: jnp.concatenate([x0[None], xs[:-1]]), CONTROL.initial(p), z.x)
        stages = jax.vmap(lambda x, u, w: track(x, u, w, p))(before, z.u, CONTROL.exogenous(p))
        return stages, arrive(jax.tree.map(lambda x: x[-1], z.x), p)

    @jax.jit
    def products(v):
        flat, _, x = flatten(program, z0, P)
        dense = eqx.tree_at(lambda flat: flat.structure, flat, None)
        none = (jnp.zeros(flat.n_ineq), jnp.zeros(flat.n_eq))
        scaling = Scaling(jnp.asarray(0.5), *(jnp.ones_like(part) for part in none))
        pairs = ((flat, BY_STAGE), (dense, GaussNewton(residual)))
        return [
            Regularised(0.1, hessian).evaluate(flat, x, none, scaling, P).model.curvature(v) for flat, hessian in pairs
        ]

    one, two = products(jnp.sin(1.0 + jnp.arange(18.0)))
    np.testing.assert_allclose(one, two, atol=1e-12)
    assert np.max(np.abs(one)) > 1.0


def test_soft_path_limits_keep_stage_residuals():
    soft = elastic(transcribe(CONTROL), ineq=(0.02, None), curvature=0.1)
    z0 = soft.start(guess(CONTROL, jnp.zeros(N), P), P)
    plan = solve(soft, SQP(hessian=BY_STAGE), z0, P, throw=False)
    assert bool(is_successful(plan.result))
    assert np.max(plan.value.ineq[0]) > 1e-3  # worth its price


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"`shift`.*>= 0"):
        Regularised(-1.0)
    with pytest.raises(ValueError, match=r"`hessian`.*StageGaussNewton\(stage"):
        solve(transcribe(CONTROL), SQP(hessian=GaussNewton(misfit)), guess(CONTROL, jnp.zeros(N), P), P)
    with pytest.raises(ValueError, match=r"`hessian`.*without stages"):
        solve(FIT, SQP(hessian=BY_STAGE), START, jnp.asarray(READINGS))
    with pytest.raises(ValueError, match=r"`hessian`.*without stages"):
        solve(QuadraticProgram(np.eye(2), np.ones(2)), SQP(hessian=Regularised(0.1, BY_STAGE)), jnp.zeros(2))


def test_proximal_term_shortens_the_step_of_a_quadratic_program():
    """minimise ½ z² - z from 0: (1 + shift) d = 1."""
    program = QuadraticProgram(np.eye(1), [-1.0])
    once = solve(program, SQP(hessian=Regularised(3.0)), jnp.zeros(1), max_steps=1, throw=False)
    assert once.result == RESULTS.max_steps_reached
    np.testing.assert_allclose(once.value, [0.25], atol=1e-8)


@pytest.mark.parametrize("wrong", [GaussNewton, lambda z, p: z])
def test_a_hessian_is_an_object(wrong):
    with pytest.raises(TypeError, match="hessian"):
        SQP(hessian=wrong)
