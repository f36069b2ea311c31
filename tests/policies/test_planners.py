"""Planners on one `OptimalControl`: against Riccati, exact solvers and each other; bounds, failures, errors."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.core import is_successful, RESULTS
from sciml.metrics import certify
from sciml.policies import CEM, Feedback, Gradient, ILQR, MPPI, plan, shifted
from sciml.programs import cost, guess, OptimalControl, QuadraticProgram, Shooting, transcribe
from sciml.solvers import InteriorPoint, InteriorPointQP, solve
from sciml.systems import discretise, Midpoint, zoo

N = 8
RNG = np.random.default_rng(3)
A = np.array([[0.9, 0.3, 0.0], [-0.3, 0.9, 0.2], [0.1, 0.0, 0.8]])
B = np.array([[0.2, 0.0], [0.5, 0.3], [0.0, -0.6]])
C, W = np.array([0.1, -0.2, 0.05]), 0.3 * RNG.normal(size=(N, 3))
Q, R, S, LAST = np.diag([1.0, 2.0, 0.5]), np.diag([0.3, 0.5]), 0.1 * RNG.normal(size=(2, 3)), 3 * np.eye(3)
X0S = jnp.asarray(RNG.normal(size=(3, 3)))
U0 = jnp.zeros((N, 2))
LOWER, UPPER = -0.3, np.array([0.2, 0.5])


def stage(x, u, w, p):
    return 0.5 * (x - w) @ Q @ (x - w) + u @ S @ x + 0.5 * u @ R @ u


LQ = OptimalControl(
    dynamics=lambda x, u, w, p: A @ x + B @ u + C,
    stage=stage,
    initial=lambda p: p,
    horizon=N,
    exogenous=lambda p: jnp.asarray(W),
    terminal=lambda x, p: 0.5 * x @ LAST @ x,
)
BOX = dataclasses.replace(LQ, u_lower=LOWER, u_upper=UPPER)


def condensed(x0):
    """`½ uᵀHu + qᵀu + c`, by evaluating the run of each input."""
    states = lambda u: np.array(list(_states(x0, u.reshape(N, 2))))
    base = states(np.zeros(2 * N))
    G = np.stack([states(e) - base for e in np.eye(2 * N)], axis=-1)  # (N + 1, 3, 2 N)
    E = np.eye(2 * N).reshape(N, 2, 2 * N)
    H, q = np.einsum("xi,xy,yj->ij", G[-1], LAST, G[-1]), G[-1].T @ LAST @ base[-1]
    for k in range(N):
        cross = E[k].T @ S @ G[k]
        H += G[k].T @ Q @ G[k] + cross + cross.T + E[k].T @ R @ E[k]
        q += G[k].T @ Q @ (base[k] - W[k]) + E[k].T @ S @ base[k]
    return H, q


def _states(x, u):
    yield np.asarray(x)
    for k in range(N):
        x = A @ x + B @ u[k] + C
        yield np.asarray(x)


@pytest.fixture(scope="module")
def boxed():
    """Exact inputs of the three instances within bounds."""
    Hq = [condensed(np.asarray(x)) for x in X0S]
    program = QuadraticProgram(
        Q=jnp.asarray(Hq[0][0]), q=lambda p: p, lower=jnp.tile(jnp.full(2, LOWER), N), upper=jnp.tile(UPPER, N)
    )
    one = lambda q: solve(program, InteriorPointQP(tol=1e-11), jnp.zeros(2 * N), q, throw=False)
    found = jax.jit(jax.vmap(one))(jnp.stack([q for _, q in Hq]))
    assert np.all(is_successful(found.result))
    return np.asarray(found.value).reshape(3, N, 2)


@pytest.fixture(scope="module")
def plans():
    """The same by ILQR, all at once."""
    return jax.jit(jax.vmap(lambda x: plan(BOX, ILQR(), U0, x, throw=False)))(X0S)


def test_lq_problem_takes_one_iteration():
    found = plan(LQ, ILQR(), U0, X0S[0])
    H, q = condensed(np.asarray(X0S[0]))
    np.testing.assert_allclose(found.value.u.ravel(), np.linalg.solve(H, -q), atol=1e-8)
    np.testing.assert_allclose(found.value.x, list(_states(np.asarray(X0S[0]), found.value.u))[1:], atol=1e-12)
    assert int(found.stats.steps) == 1 and float(found.stats.residual) < 1e-10
    # The gains are those of Riccati's recursion.
    P, gains = LAST, []
    for _ in range(N):
        K = -np.linalg.solve(R + B.T @ P @ B, S + B.T @ P @ A)
        P = Q + A.T @ P @ A + (S + B.T @ P @ A).T @ K
        gains.append(K)
    assert isinstance(found.state, Feedback)
    np.testing.assert_allclose(found.state.gain, gains[::-1], atol=1e-9)


def test_box_limited_lq_is_that_of_an_exact_solver(boxed, plans):
    assert np.all(is_successful(plans.result))
    np.testing.assert_allclose(plans.value.u, boxed, atol=1e-8)
    u = np.asarray(plans.value.u)
    assert np.all((u >= LOWER) & (u <= UPPER))
    assert np.sum((u == LOWER) | (u == UPPER)) >= 8  # bounds bind, exactly
    held = np.asarray((u == LOWER) | (u == UPPER))
    assert not np.any(np.asarray(plans.state.gain)[held])


def test_batch_is_a_loop(plans):
    for i, x in enumerate(X0S):
        alone = plan(BOX, ILQR(), U0, x)
        np.testing.assert_allclose(alone.value.u, plans.value.u[i], atol=1e-10)
        np.testing.assert_allclose(alone.stats.cost, cost(transcribe(BOX), alone.value, x), rtol=1e-12)


@pytest.mark.parametrize(
    "planner, part",
    [
        (Gradient(optax.sgd(0.05), tol=1e-7), 1e-9),
        (CEM(samples=200, elites=20), 0.005),
        (MPPI(samples=200, cooling=0.9, smoothing=0.3), 0.001),
    ],
    ids=["gradient", "cem", "mppi"],
)
def test_other_planners_come_near(planner, part, plans):
    """Within a stated part of the least cost: first order exactly, CEM to 0.5 %, MPPI to 0.1 %."""
    run = jax.jit(jax.vmap(lambda x: plan(BOX, planner, U0, x, key=jax.random.key(0), throw=False)))
    found = run(X0S)
    assert np.all(is_successful(found.result))
    excess = found.stats.cost / plans.stats.cost - 1
    assert np.all(excess < part) and np.all(excess > -1e-12), excess
    u = np.asarray(found.value.u)
    assert np.all((u >= LOWER) & (u <= UPPER)) and np.all(found.stats.residual < 10.0)


# ------------------------------------------------------------------------------------------------------------- plants

POLE = discretise(zoo.CartPole(), Midpoint(), dt=0.1).step
UPRIGHT = jnp.array([0.0, np.pi, 0.0, 0.0])
SWING = OptimalControl(
    dynamics=lambda x, u, w, p: POLE(0.0, x, u),
    stage=lambda x, u, w, p: 1e-3 * u @ u,
    initial=lambda p: p,
    horizon=15,
    terminal=lambda x, p: 5 * jnp.sum((x - UPRIGHT) ** 2),
    u_lower=-20.0,
    u_upper=20.0,
)
HOVER = 0.5 * 0.486 * 9.81
FLAT = discretise(zoo.PlanarQuadrotor(), Midpoint(), dt=0.1).step
WEIGHTS = jnp.array([4.0, 4.0, 1.0, 0.1, 0.1, 0.1])
FLY = OptimalControl(
    dynamics=lambda x, u, w, p: FLAT(0.0, x, u),
    stage=lambda x, u, w, p: 0.1 * (jnp.sum(WEIGHTS * x**2) + 0.1 * jnp.sum((u - HOVER) ** 2)),
    initial=lambda p: p,
    horizon=15,
    terminal=lambda x, p: 10 * jnp.sum(x**2),
    u_lower=0.0,
    u_upper=5.0,
)
CASES = {
    "cart_pole": (SWING, jnp.full((15, 1), 0.1), jnp.zeros(4)),
    "planar_quadrotor": (FLY, jnp.full((15, 2), HOVER), jnp.array([1.0, 0.5, 0.3, 0.0, 0.0, 0.0])),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    problem, u0, x0 = CASES[request.param]
    return problem, x0, plan(problem, ILQR(is_second_order=request.param == "planar_quadrotor"), u0, x0)


def test_plant_has_the_cost_of_an_exact_solve(case):
    """From a start in the same basin: the plan, its inputs moved."""
    problem, x0, found = case
    start = guess(problem, found.value.u + 0.01 * jnp.cos(jnp.arange(15.0))[:, None], x0)
    exact = solve(transcribe(problem), InteriorPoint(tol=1e-9), start, x0)
    np.testing.assert_allclose(found.stats.cost, cost(transcribe(problem), exact.value, x0), rtol=1e-6)
    assert float(found.stats.residual) < 1e-6
    one = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)
    report = certify(transcribe(problem), one(found.value), one(x0), one(exact))
    assert abs(float(report.gap_mean)) < 1e-6 and float(report.violation_rate) == 0.0


def test_a_shifted_plan_is_a_warm_start():
    problem, u0, x0 = CASES["planar_quadrotor"]
    planner = ILQR(is_second_order=True)
    cold = plan(problem, planner, u0, x0)
    later = cold.value.x[0]
    warm = plan(problem, planner, shifted(cold.value.u), later)
    again = plan(problem, planner, u0, later)
    np.testing.assert_allclose(warm.stats.cost, again.stats.cost, rtol=1e-8)
    assert int(warm.stats.steps) < int(again.stats.steps)
    np.testing.assert_array_equal(shifted(u0, 20), u0)


# ------------------------------------------------------------------------------------------------ structures, failures


class Pair(eqx.Module):
    s: jax.Array
    v: jax.Array


def test_states_and_inputs_of_any_structure_in_float32():
    problem = OptimalControl(
        dynamics=lambda x, u, w, p: Pair(x.s + p["dt"] * x.v, x.v + p["dt"] * (u["a"] + u["b"][0] + w)),
        stage=lambda x, u, w, p: x.s**2 + 0.1 * x.v**2 + 0.1 * u["a"] ** 2 + 0.2 * u["b"] @ u["b"],
        initial=lambda p: Pair(p["s"], jnp.zeros_like(p["s"])),
        horizon=5,
        exogenous=lambda p: jnp.zeros(5, jnp.float32),
        u_lower={"a": -0.5, "b": None},
        u_upper=lambda p: {"a": p["most"], "b": jnp.full((5, 2), jnp.inf, jnp.float32)},
    )
    p = {"dt": jnp.float32(0.3), "s": jnp.float32(1.0), "most": jnp.float32(0.5)}
    u0 = {"a": jnp.zeros(5, jnp.float32), "b": jnp.zeros((5, 2), jnp.float32)}
    found = plan(problem, ILQR(), u0, p)
    assert found.value.x.s.shape == (5,) and found.value.u["b"].shape == (5, 2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found.value))
    np.testing.assert_array_equal(found.value.u["b"][:, 1], 0.0)
    assert float(found.value.u["a"][0]) == -0.5 and float(found.stats.cost) < 4.0


def test_derivatives_are_zero(plans):
    slope = jax.grad(lambda x: jnp.sum(plan(BOX, ILQR(), U0, x, throw=False).value.u))(X0S[0])
    np.testing.assert_array_equal(slope, 0.0)


EXPLODE = OptimalControl(
    dynamics=lambda x, u, w, p: p * x**3 + u,
    stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
    initial=lambda p: jnp.full(1, 2.0),
    horizon=12,
    u_lower=-1.0,
    u_upper=1.0,
)
KEY = jax.random.key(1)
PLANNERS = {
    "ilqr": ILQR(),
    "gradient": Gradient(optax.adam(0.1)),
    "cem": CEM(samples=20, elites=4),
    "mppi": MPPI(samples=20),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_runs_that_diverge_fail_one_by_one_and_hold_no_nan(name):
    """`p = 3` overflows whatever the inputs; `p = 0.1` does not."""
    run = jax.jit(jax.vmap(lambda p: plan(EXPLODE, PLANNERS[name], jnp.zeros((12, 1)), p, key=KEY, throw=False)))
    found = run(jnp.array([3.0, 0.1]))
    code = RESULTS.nonfinite_step if name in ("cem", "mppi") else RESULTS.nonfinite_start
    np.testing.assert_array_equal(found.result == code, [True, False])
    assert not any(np.any(np.isnan(leaf)) for leaf in jax.tree.leaves((found.value, found.stats, found.state)))
    assert np.isinf(found.stats.cost[0]) and np.isfinite(found.stats.cost[1])
    assert np.all(np.isfinite(found.value.u)) and np.all(np.isfinite(found.value.x))


def test_failures_have_codes():
    start = jnp.zeros((12, 1))
    assert plan(EXPLODE, ILQR(), start, jnp.asarray(0.1), throw=False, max_steps=1).result == RESULTS.max_steps_reached
    wrong = dataclasses.replace(EXPLODE, u_lower=lambda p: p, u_upper=-1.0)
    with pytest.raises(RuntimeError, match="lower > upper"):
        plan(wrong, ILQR(), start, jnp.asarray(0.5))
    # A kink at zero: the gradient never vanishes.
    kink = OptimalControl(
        lambda x, u, w, p: x + u, lambda x, u, w, p: jnp.sum(jnp.abs(x + u)) + 1e-3 * u @ u, lambda p: p, 2
    )
    assert plan(kink, ILQR(), jnp.zeros((2, 1)), jnp.ones(1), throw=False).result == RESULTS.stalled


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "limit",
    [
        {"path": lambda x, u, w, p: x[0] - 1},
        {"terminal_ineq": lambda x, p: x[0]},
        {"terminal_eq": lambda x, p: x[0]},
        {"x_lower": -1.0},
        {"x_upper": lambda p: 1.0},
    ],
    ids=lambda limit: next(iter(limit)),
)
def test_other_limits_are_refused_by_name(limit):
    (name,) = limit
    with pytest.raises(ValueError, match=rf"`{name}`: got a limit, with ILQR.*InteriorPoint.*penalty"):
        plan(dataclasses.replace(LQ, **limit), ILQR(), U0, X0S[0])


def test_infinite_limits_are_none():
    free = dataclasses.replace(EXPLODE, x_lower=-jnp.inf, x_upper=jnp.full(1, jnp.inf))
    found = plan(free, Gradient(optax.sgd(0.1)), jnp.zeros((12, 1)), jnp.asarray(0.1), throw=False, max_steps=1)
    assert int(found.stats.steps) == 1


def test_errors_name_the_argument():
    x = X0S[0]
    unchecked = getattr(plan, "__wrapped__", plan)  # without the runtime type checker of the tests
    with pytest.raises(TypeError, match=r"`problem`: got a Program.*`OptimalControl`"):
        unchecked(transcribe(LQ), ILQR(), U0, x)
    with pytest.raises(TypeError, match=r"`planner`.*such as `ILQR\(\)`"):
        unchecked(LQ, ILQR, U0, x)
    with pytest.raises(ValueError, match=r"`u0`: got shape \(3, 2\).*leading axis of 8"):
        plan(LQ, ILQR(), U0[:3], x)
    with pytest.raises(ValueError, match=r"`key`: got None.*CEM draws"):
        plan(BOX, CEM(), U0, x)
    with pytest.raises(ValueError, match=r"`spread`: got None.*MPPI\(spread"):
        plan(LQ, MPPI(), U0, x, key=KEY)
    with pytest.raises(ValueError, match=r"`elites`: got 300 elites of 256"):
        CEM(elites=300)
    with pytest.raises(ValueError, match=r"`samples`: got 1"):
        MPPI(samples=1)


def test_value_is_the_decision_of_the_transcribed_program(plans):
    assert isinstance(plans.value, Shooting) and plans.value.x.shape == (3, N, 3)
