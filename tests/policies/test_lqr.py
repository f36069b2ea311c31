"""Linear quadratic regulators: SciPy, the exact program, set points, integral action, batches, errors; 25 CPU-s."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import sciml
from sciml import RESULTS
from sciml.policies import finite_lqr, lqi, lqr, OutputFeedback
from sciml.programs import QuadraticProgram
from sciml.simulation import Gaussian, KalmanFilter, rollout, steady_state
from sciml.solvers import InteriorPointQP
from sciml.systems import AbstractContinuousSystem, discretise, Exact, LinearContinuous, LinearDiscrete, RK4
from sciml.systems.zoo import double_integrator, TwoTank

H = 0.2
FULL = discretise(double_integrator(), Exact(), dt=H)
A, B = np.asarray(FULL.A), np.asarray(FULL.B)
PLACE = LinearDiscrete(A, B, np.array([[1.0, 0.0]]), dt=H)
Q, R, S = np.diag([1.0, 0.1]), np.array([[0.3]]), np.array([[0.05], [0.02]])
X0 = jnp.array([1.0, -0.5])


class Crane(AbstractContinuousSystem):
    """A pendulum at the side: x = [angle from the vertical (rad), rate (rad/s)], u torque; the angle is measured."""

    def vector_field(self, t, x, u):
        return jnp.stack([x[1], -9.81 * jnp.sin(x[0]) - 0.1 * x[1] + u[0]])

    def output(self, t, x, u):
        return x[:1]

    def input_shape(self):
        return (1,)


CRANE = discretise(Crane(), RK4(), dt=0.05)
REST = {"x": np.array([np.pi / 6, 0.0]), "u": np.array([9.81 / 2])}


def test_it_is_scipys_and_its_cost_is_that_of_the_run():
    policy = lqr(PLACE, Q, R, S)
    P = scipy.linalg.solve_discrete_are(A, B, Q, R, s=S)
    K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A + S.T)
    np.testing.assert_allclose(policy.gain, K, atol=1e-11)
    np.testing.assert_allclose(policy.cost, P, atol=1e-11)
    np.testing.assert_allclose(np.sort_complex(policy.poles), np.sort_complex(np.linalg.eigvals(A - B @ K)), atol=1e-10)
    run = rollout(PLACE, policy, X0, None, steps=200)
    x, u = np.asarray(run.x[:-1]), np.asarray(run.u)
    cost = np.einsum("ki,ij,kj", x, Q, x) + np.einsum("ki,ij,kj", u, R, u) + 2 * np.einsum("ki,ij,kj", x, S, u)
    np.testing.assert_allclose(cost, X0 @ P @ X0, rtol=1e-10)
    continuous = lqr(double_integrator(), Q, R, S)
    P = scipy.linalg.solve_continuous_are([[0, 1], [0, 0]], [[0], [1]], Q, R, s=S)
    np.testing.assert_allclose(continuous.gain, np.linalg.solve(R, [[0, 1]] @ P + S.T), atol=1e-11)
    assert np.all(continuous.poles.real < 0)


def test_finite_horizon_is_the_exact_program():
    N = 12
    policy = finite_lqr(PLACE, Q, R, S, horizon=N, terminal=2 * Q)
    run = rollout(PLACE, policy, X0, None, steps=N)
    # The states are x = T x0 + G u: minimise over u.
    powers = [np.linalg.matrix_power(A, k) for k in range(N + 1)]
    G = np.block([[powers[k - j - 1] @ B if j < k else np.zeros((2, 1)) for j in range(N)] for k in range(N + 1)])
    weight = scipy.linalg.block_diag(*[Q] * N, 2 * Q)
    cross = np.vstack([np.kron(np.eye(N), S), np.zeros((2, N))])
    T = np.vstack(powers)
    hessian = G.T @ weight @ G + np.kron(np.eye(N), R) + G.T @ cross + cross.T @ G
    slope = (G.T @ weight + cross.T) @ T @ np.asarray(X0)
    program = QuadraticProgram(Q=2 * hessian, q=2 * slope)
    solution = sciml.solve(program, InteriorPointQP(), jnp.zeros(N))
    np.testing.assert_allclose(run.u[:, 0], solution.value, atol=1e-8)
    np.testing.assert_allclose(X0 @ policy.cost[0] @ X0, solution.value @ slope + X0 @ T.T @ weight @ T @ X0, rtol=1e-9)


def test_horizons_join():
    forever = lqr(PLACE, Q, R, S)
    finite = finite_lqr(PLACE, Q, R, S, horizon=3, terminal=forever.cost)
    np.testing.assert_allclose(finite.gain, np.broadcast_to(forever.gain, (3, 1, 2)), atol=1e-12)
    long = rollout(PLACE, finite, X0, jnp.full((60, 1), 0.7))  # keeps its last gain after the horizon
    np.testing.assert_allclose(long.x, rollout(PLACE, forever, X0, jnp.full((60, 1), 0.7)).x, atol=1e-12)
    assert abs(long.x[-1, 0] - 0.7) < 1e-4


def test_set_points():
    rng = np.random.default_rng(0)
    F, G = 0.4 * rng.normal(size=(2, 2)), rng.normal(size=(2, 1))
    C, D = rng.normal(size=(1, 2)), rng.normal(size=(1, 1))
    w = jnp.array([0.7])
    square = lqr(LinearDiscrete(F, G, C, D), Q, R)
    x, u = square.target(w)
    np.testing.assert_allclose(F @ x + G @ u, x, atol=1e-12)
    np.testing.assert_allclose(C @ x + D @ u, w, atol=1e-12)
    run = rollout(LinearDiscrete(F, G, C, D), square, jnp.zeros(2), jnp.broadcast_to(w, (60, 1)))
    np.testing.assert_allclose(run.y[-1], w, atol=1e-9)
    # More outputs than inputs: the nearest output among equilibria. More inputs: the equilibrium of the least norm.
    goal, gain = jnp.array([0.5, -1.0]), np.linalg.solve(np.eye(2) - F, G)
    u = np.linalg.lstsq(gain, goal, rcond=None)[0]
    x_s, u_s = lqr(LinearDiscrete(F, G), Q, R).target(goal)
    np.testing.assert_allclose(u_s, u, atol=1e-12)
    np.testing.assert_allclose(x_s, gain @ u, atol=1e-12)
    both = np.hstack([G, rng.normal(size=(2, 1))])
    wide = lqr(LinearContinuous(F - np.eye(2), both, C), Q, 1.0)
    rows = np.block([[F - np.eye(2), both], [C, np.zeros((1, 2))]])
    least = np.linalg.lstsq(rows, np.array([0, 0, 1.5]), rcond=None)[0]
    np.testing.assert_allclose(np.concatenate(wide.target(jnp.array([1.5]))), least, atol=1e-12)


def test_a_nonlinear_plant_at_an_equilibrium():
    policy = lqr(CRANE, np.array([10.0, 1.0]), 0.1, **REST)
    run = rollout(CRANE, policy, jnp.array([0.9, 0.0]), None, steps=120)
    np.testing.assert_allclose(run.x[-1], REST["x"], atol=1e-3)
    np.testing.assert_allclose(run.u[-1], REST["u"], atol=1e-3)
    near = policy.target(jnp.array([np.pi / 6 + 0.01]))
    np.testing.assert_allclose(near[0], [np.pi / 6 + 0.01, 0.0], atol=1e-9)
    np.testing.assert_allclose(near[1], 9.81 * np.sin(near[0][:1]), atol=1e-3)


def test_integral_action_has_a_gain_of_one():
    """Nominal: at once and without integral. With another mass, gravity and a disturbance: in the end, exactly."""
    policy = lqi(PLACE, Q, R, 0.5)
    assert np.max(np.abs(policy.poles)) < 1
    big = np.block([[A, np.zeros((2, 1))], [-H * np.array([[1.0, 0.0]]), np.eye(1)]])
    P = scipy.linalg.solve_discrete_are(big, np.vstack([B, [[0.0]]]), scipy.linalg.block_diag(Q, 0.5), R)
    np.testing.assert_allclose(policy.cost, P, rtol=1e-9)
    run = rollout(PLACE, policy, jnp.zeros(2), jnp.full((200, 1), 2.0))
    memory = policy.init(X0, None)
    for k in range(200):
        _, memory = policy.step(memory, run.x[k], jnp.array([2.0]), key=None)
    np.testing.assert_allclose(run.x[-1, 0], 2.0, atol=1e-9)
    np.testing.assert_allclose(memory, 0.0, atol=1e-9)
    other = LinearDiscrete(A, 0.7 * B, PLACE.C, dt=H)
    pushed = lambda inner: _Pushed(inner, jnp.array([-0.4]))
    end = rollout(other, pushed(policy), jnp.zeros(2), jnp.full((400, 1), 2.0)).x[-1]
    np.testing.assert_allclose(end, [2.0, 0.0], atol=1e-8)
    without = rollout(other, pushed(lqr(PLACE, Q, R)), jnp.zeros(2), jnp.full((400, 1), 2.0)).x[-1]
    assert abs(without[0] - 2.0) > 0.1
    rough = lqi(CRANE, np.array([10.0, 1.0]), 0.1, 20.0, **REST)
    end = rollout(CRANE, rough, jnp.array(REST["x"]), jnp.full((400, 1), 1.2)).x[-1]
    np.testing.assert_allclose(end, [1.2, 0.0], atol=1e-8)  # far from where the model holds


class _Pushed(sciml.core.AbstractPolicy):
    """A policy whose input is disturbed."""

    inner: object
    push: jax.Array

    def init(self, x0, w):
        return self.inner.init(x0, w) if isinstance(self.inner, sciml.core.AbstractPolicy) else jnp.zeros(())

    def step(self, state, x, w, *, key):
        if isinstance(self.inner, sciml.core.AbstractPolicy):
            u, state = self.inner.step(state, x, w, key=key)
        else:
            u = self.inner(x, w)
        return u + self.push, state


def test_it_does_not_wind_up():
    tank = LinearDiscrete(np.array([[0.95]]), np.array([[0.05]]), dt=1.0)
    slow = LinearDiscrete(np.array([[0.97]]), np.array([[0.03]]), dt=1.0)  # slower than the model says
    policy = lqi(tank, 1.0, 1.0, 0.1, lower=0.0, upper=1.0)
    winding = eqx.tree_at(lambda p: p.release, policy, jnp.zeros((1, 1)))
    references = jnp.concatenate([jnp.full((60, 1), 0.95), jnp.full((60, 1), 0.2)])
    good, bad = (rollout(slow, p, jnp.zeros(1), references) for p in (policy, winding))
    assert np.all((good.u >= 0) & (good.u <= 1))
    error = lambda run: np.sum(np.abs(run.x[1:] - references))
    assert error(good) < 0.9 * error(bad)
    # Out of reach: the input stays at its limit, and leaves it at once when the reference comes back.
    away = jnp.concatenate([jnp.full((100, 1), 1.5), jnp.full((5, 1), 0.5)])
    good, bad = (rollout(slow, p, jnp.zeros(1), away) for p in (policy, winding))
    assert good.u[99, 0] == 1.0 and good.u[100, 0] < 0.5 and bad.u[104, 0] == 1.0


def test_batch_derivatives_and_float32():
    def cost(weight, mass):
        plant = LinearDiscrete(A, B / mass, dt=H)
        run = rollout(plant, lqr(plant, weight, R, throw=False), X0, None, steps=10)
        return jnp.sum(run.x**2) + jnp.sum(run.u**2)

    weights, masses = jnp.array([0.5, 1.0, 4.0]), jnp.array([1.0, 2.0, 0.3])
    slopes = jax.jit(jax.vmap(jax.grad(cost, argnums=(0, 1))))(weights, masses)
    for k in (0, 2):
        for argument, h in ((0, (1e-5, 0.0)), (1, (0.0, 1e-5))):
            ends = [cost(weights[k] + s * h[0], masses[k] + s * h[1]) for s in (1, -1)]
            np.testing.assert_allclose(slopes[argument][k], (ends[0] - ends[1]) / 2e-5, rtol=1e-6)
    single = lambda plant: jax.tree.map(lambda a: a.astype(jnp.float32), plant)
    low = lqr(single(PLACE), Q, R)
    assert low.gain.dtype == jnp.float32 and low(X0.astype(jnp.float32), None).dtype == jnp.float32
    np.testing.assert_allclose(low.gain, lqr(PLACE, Q, R).gain, rtol=1e-4)


def test_output_feedback():
    """The separation principle, end to end: poles of `lqr` and `steady_state`, a position seen with noise."""
    observer = steady_state(KalmanFilter(PLACE, 1e-3, 1e-2, Gaussian(np.zeros(2), 1.0)))
    policy = OutputFeedback(observer, lqr(PLACE, Q, R))
    run = rollout(PLACE, policy, X0, None, steps=150, observe=lambda x: x[:1])
    np.testing.assert_allclose(run.x[-1], 0.0, atol=1e-6)


def test_failures_are_values_inside_a_batch():
    inputs = jnp.stack([jnp.asarray(B), jnp.zeros((2, 1)), jnp.asarray(B), jnp.asarray(B)])
    signs = jnp.array([1.0, 1.0, -1.0, jnp.nan])

    def run(b, sign):
        plant = LinearDiscrete(A, b, PLACE.C, dt=H)
        policies = lqr(plant, sign * Q, R, throw=False), lqi(plant, sign * Q, R, 1.0, throw=False)
        finite = finite_lqr(plant, sign * Q, R, horizon=3, terminal=0.0, throw=False)
        u = policies[0](X0, jnp.ones(1)), policies[1].step(jnp.zeros(1), X0, None, key=None)
        return (*policies, finite), u

    value = lambda b, sign: jnp.sum(lqr(LinearDiscrete(A, b, PLACE.C), sign * Q, R, throw=False).gain)
    policies, u = jax.jit(jax.vmap(run))(inputs, signs)
    slopes = jax.jit(jax.vmap(jax.grad(value)))(inputs, signs)
    expected = [RESULTS.successful, RESULTS.unstable, RESULTS.unbounded, RESULTS.unbounded]
    for k, want in enumerate(expected):
        one, slope = jax.tree.map(lambda a, k=k: a[k], (policies, slopes))
        assert one[0].result == want and one[1].result == want
        assert one[2].result == (RESULTS.successful if k == 1 else want)
        numbers = jax.tree.leaves((eqx.filter((one[0].gain, one[1].gain, one[2].gain), eqx.is_array), slope))
        assert all(np.all(np.isfinite(a)) for a in numbers)
        assert bool(np.any(one[0].gain)) == bool(np.any(slope)) == (k == 0)
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(u))


MORE = LinearDiscrete(A, B, dt=H)
STUCK = LinearDiscrete(np.diag([1.2, 0.5]), np.array([[0.0], [1.0]]))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: lqr(STUCK, Q, R), RuntimeError, "`plant`: got modes of `A` .* that no input moves: 1.2"),
        (lambda: lqr(PLACE, -Q, R), ValueError, "`Q`: got a least eigenvalue of -1"),
        (lambda: lqr(PLACE, Q, 0.0), ValueError, "`R`: got a least eigenvalue of 0"),
        (lambda: lqr(PLACE, Q, R, 9 * S), ValueError, "`S`: got a least eigenvalue"),
        (
            lambda: lqr(PLACE, np.array([[1.0, 0.5], [0.0, 1.0]]), R),
            ValueError,
            "`Q`: got a matrix that is not symmetric",
        ),
        (
            lambda: lqr(PLACE, np.eye(3), R),
            ValueError,
            r"`Q`: got shape \(3, 3\); expected a number, \(2,\) or \(2, 2\)",
        ),
        (lambda: lqr(PLACE, Q, np.nan), ValueError, r"`R`: got \[\[nan\]\]; expected finite"),
        (lambda: lqr(PLACE, Q, R, S.T), ValueError, r"`S`: got shape \(1, 2\)"),
        (lambda: lqr(3, Q, R), TypeError, "`plant`: got 3"),
        (lambda: lqr(CRANE, Q, R), ValueError, "`x`: got None; expected a vector at which Discretised rests"),
        (lambda: lqr(CRANE, Q, R, x=np.ones(2), u=np.zeros(1)), ValueError, "`x, u`: got a point that moves"),
        (lambda: lqr(PLACE, Q, R, x=np.ones(3)), ValueError, r"`x`: got shape \(3,\)"),
        (lambda: lqr(PLACE, Q, R)(X0, jnp.zeros(2)), ValueError, r"`w`: got a reference of shape \(2,\)"),
        (lambda: finite_lqr(double_integrator(), Q, R, horizon=3, terminal=0.0), TypeError, "`plant`: got LinearCont"),
        (lambda: finite_lqr(PLACE, Q, R, horizon=0, terminal=0.0), ValueError, "`horizon`: got 0"),
        (lambda: finite_lqr(PLACE, Q, R, horizon=2, terminal=np.ones(3)), ValueError, "`terminal`: got shape"),
        (lambda: lqi(discretise(TwoTank(), RK4(), dt=1.0), Q, R, 1.0), ValueError, "`x`: got None"),
        (lambda: lqi(MORE, Q, R, 1.0), ValueError, "`plant`: got 2 outputs and 1 inputs"),
        (lambda: lqi(PLACE, Q, R, 1.0, lower=1.0, upper=0.0), ValueError, "`lower`: got lower"),
        (lambda: lqi(PLACE, Q, R, 1.0, lower=np.zeros(2)), ValueError, r"`lower`: got shape \(2,\)"),
        (
            lambda: lqi(LinearDiscrete(A, B, np.array([[0.0, 1.0]])), Q, R, 1.0),  # a velocity follows no constant
            RuntimeError,
            "`plant`: got modes of `A` that do not decay and that no input moves: 1",
        ),
        (
            lambda: finite_lqr(LinearDiscrete(1e200 * A, 0 * B), Q, R, horizon=9, terminal=0.0),
            RuntimeError,
            "became NaN or infinite",
        ),
    ],
)
def test_bad_input_is_named(unchecked, call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_failures_raise_under_jit():
    with pytest.raises(RuntimeError, match="weights of the wrong sign"):
        eqx.filter_jit(lambda q: lqr(PLACE, q, R).gain)(-Q)
