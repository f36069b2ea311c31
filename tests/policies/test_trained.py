"""Policies to train: bounds, previews, memory, set points, integrals, derivatives, training, errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from sciml import fit, load, save
from sciml.core import AbstractPolicy
from sciml.losses import LeastSquares
from sciml.policies import (
    AffineInError,
    Controller,
    IntegralAction,
    lqi,
    lqr,
    NeuralPolicy,
    OutputFeedback,
    previews,
    RecurrentPolicy,
)
from sciml.simulation import Gaussian, KalmanFilter, rollout
from sciml.systems import discretise, Exact, LinearDiscrete
from sciml.systems.zoo import double_integrator
from sciml.training import LevenbergMarquardt

FULL = discretise(double_integrator(), Exact(), dt=0.2)
A, B = np.asarray(FULL.A), np.asarray(FULL.B)
PLACE = LinearDiscrete(A, B, np.array([[1.0, 0.0]]), dt=0.2)
Q, R = np.diag([1.0, 0.1]), np.array([[0.3]])
X0, W, U, KEY = jnp.array([1.0, -0.5]), jnp.zeros(1), jnp.zeros(1), jr.key(0)
REGULATOR = lqr(PLACE, Q, R)
LIMITS = {"lower": -0.5, "upper": 0.7}


def miss(x, w):
    return w - x[:1]


NEURAL = NeuralPolicy(
    X0, W, U, width=8, depth=1, center=(0.0, 1.0), scale=(np.array([2.0, 1.0]), 1.0), key=KEY, **LIMITS
)
RECURRENT = RecurrentPolicy(X0, W, U, hidden=4, scale=2.0, key=KEY, **LIMITS)
AFFINE = AffineInError(REGULATOR.gain, REGULATOR.target, W, width=8, depth=1, scale=2.0, key=KEY, **LIMITS)
INTEGRAL = IntegralAction(NEURAL, np.array([[0.2]]), miss, dt=PLACE.dt, **LIMITS)
ALL = {"neural": NEURAL, "recurrent": RECURRENT, "affine": AFFINE, "integral": INTEGRAL}


def shaken(policy, key, size):
    """Other weights."""
    arrays, rest = eqx.partition(policy, eqx.is_inexact_array)
    flat, back = ravel_pytree(arrays)
    return eqx.combine(back(flat + size * jr.normal(key, flat.shape)), rest)


@eqx.filter_jit
def act(policy, x, w):
    return policy.step(policy.init(x, w), x, w, key=None)[0] if isinstance(policy, AbstractPolicy) else policy(x, w)


@pytest.mark.parametrize("name", ALL)
def test_bounds_hold_for_all_weights(name):
    arrays, rest = eqx.partition(ALL[name], eqx.is_inexact_array)
    flat, back = ravel_pytree(arrays)
    rng = np.random.default_rng(0)
    weights = flat + 3 * rng.normal(size=(200, flat.size))
    one = lambda weights, x, w: act(eqx.combine(back(weights), rest), x, w)
    u = jax.jit(jax.vmap(one))(weights, 1e3 * rng.normal(size=(200, 2)), 10 * rng.normal(size=(200, 1)))
    assert np.all(u >= -0.5) and np.all(u <= 0.7)
    assert np.ptp(u) > 1.1  # and they are reached


@pytest.mark.parametrize("name", ALL)
def test_derivatives_float32_and_files(name, tmp_path):
    policy = shaken(ALL[name], jr.key(1), 0.1)
    references = jnp.linspace(0.0, 0.4, 12)[:, None]
    arrays, rest = eqx.partition(policy, eqx.is_inexact_array)
    flat, back = ravel_pytree(arrays)
    target = tuple(a.size for a in jax.tree.leaves(arrays.target)) if name == "affine" else ()
    direction = jr.normal(jr.key(2), flat.shape)
    if target:  # what the target holds is a constant
        fixed = eqx.tree_at(lambda p: p.target, arrays, replace_fn=lambda t: jax.tree.map(jnp.zeros_like, t))
        ones = jax.tree.map(jnp.ones_like, fixed)
        ones = eqx.tree_at(lambda p: p.target, ones, replace_fn=lambda t: jax.tree.map(jnp.zeros_like, t))
        direction = direction * ravel_pytree(ones)[0]

    @jax.jit
    @jax.value_and_grad
    def cost(flat):
        run = rollout(PLACE, eqx.combine(back(flat), rest), 0.2 * X0, references)
        return jnp.sum(run.x**2) + jnp.sum(run.u**2)

    _, slope = cost(flat)
    ends = [cost(flat + h * direction)[0] for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope @ direction, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)
    assert not target or np.sum(slope == 0.0) >= sum(target)
    save(tmp_path / "policy.sciml", policy)
    again = load(tmp_path / "policy.sciml", like=ALL[name])
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(policy), strict=True))
    low = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, policy)
    assert eqx.filter_eval_shape(act, low, X0.astype(jnp.float32), W.astype(jnp.float32)).dtype == jnp.float32


def test_it_sees_the_window_and_no_further():
    policy = NeuralPolicy(X0, jnp.zeros(4), U, width=8, depth=1, key=KEY)
    slope = jax.jit(jax.jacfwd(policy, argnums=1))(X0, jnp.arange(4.0))
    assert np.all(slope != 0.0)
    early, late = jnp.zeros(20), jnp.where(jnp.arange(20) < 10, 0.0, 1.0)
    one, two = (rollout(PLACE, policy, X0, previews(w, 4)).u[:, 0] for w in (early, late))
    assert np.array_equal(one[:7], two[:7]) and one[7] != two[7]  # step 7 sees the samples 7 to 10


def test_records_and_scaling():
    """Against the network by itself, on numbers scaled by hand."""
    x, w = {"level": jnp.zeros(2), "heat": jnp.zeros(())}, {"price": jnp.zeros((3, 2))}
    center, scale = ({"level": 1.0, "heat": 20.0}, 0.5), (2.0, {"price": np.array([1.0, 4.0])})
    limits = {"lower": {"valve": 0.0, "pump": -1.0}, "upper": {"valve": np.inf, "pump": 1.0}}
    policy = NeuralPolicy(x, w, {"valve": 0.0, "pump": 0.0}, center=center, scale=scale, key=KEY, **limits)
    seen = {"level": jnp.array([3.0, 1.0]), "heat": jnp.array(21.0)}, {"price": jnp.arange(6.0).reshape(3, 2)}
    v = np.concatenate([[0.5, 1.0, 0.0], ((np.arange(6).reshape(3, 2) - 0.5) / [1.0, 4.0]).ravel()])
    u, raw = eqx.filter_jit(lambda policy, v: (policy(*seen), policy.net.mlp.mlp(v)))(policy, jnp.asarray(v))
    assert u["valve"] > 0.0 and abs(u["pump"]) < 1.0
    np.testing.assert_allclose(u["pump"], -1 + 2 / (1 + np.exp(-raw[0])), rtol=1e-12)
    np.testing.assert_allclose(u["valve"], np.log1p(np.exp(raw[1])), rtol=1e-12)


def test_memory_is_a_gru_and_begins_anew():
    references = jnp.ones((6, 1))
    run, again = (rollout(PLACE, RECURRENT, X0, references) for _ in range(2))
    assert np.array_equal(run.u, again.u)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    cell, layer, h = RECURRENT.cell, RECURRENT.readout.mlp.mlp.layers[0], np.zeros(4)
    for k in range(6):
        ir, iz, i_n = np.split(np.asarray(cell.weight_ih) @ np.append(run.x[k], 1.0) / 2.0 + np.asarray(cell.bias), 3)
        hr, hz, hn = np.split(np.asarray(cell.weight_hh) @ h, 3)
        new = np.tanh(i_n + sigmoid(ir + hr) * (hn + np.asarray(cell.bias_n)))
        z = sigmoid(iz + hz)
        h = new + z * (h - new)
        u = -0.5 + 1.2 * sigmoid(np.asarray(layer.weight) @ h + np.asarray(layer.bias))
        np.testing.assert_allclose(run.u[k], u, atol=1e-12)
    controller = Controller(RECURRENT, X0, W)
    first, second = (controller(X0, W) for _ in range(2))
    controller.reset(X0, W)
    assert first != second and controller(X0, W) == first


def test_it_is_exact_at_the_set_point():
    np.testing.assert_allclose(act(AFFINE, X0 / 4, W), act(REGULATOR, X0 / 4, W), atol=1e-15)  # before training

    def curved(w):
        return jnp.stack([w[0], jnp.zeros(())]), 0.3 * jnp.sin(w)

    base = AffineInError(np.zeros((1, 2)), curved, W, width=8, depth=1, key=KEY, **LIMITS)

    def one(key, w):
        policy, (x_s, u_s) = shaken(base, key, 1.0), curved(w)
        gain = policy.gain + 0.6 * policy.correction(jnp.concatenate([x_s, w]))
        return u_s, policy(x_s, w), policy(x_s + 0.01, w), gain, jax.jacfwd(policy)(x_s, w)

    u_s, there, near, gain, slope = jax.jit(jax.vmap(one))(jr.split(KEY, 5), jnp.linspace(0.0, 2.0, 5)[:, None])
    assert np.array_equal(there, u_s) and np.all(near != u_s)
    np.testing.assert_allclose(slope, -gain, rtol=1e-10)


def test_integral_action_is_that_of_lqi():
    """The same loop, limits and anti-windup included; and the error vanishes on another plant."""
    limits = {"lower": -0.4, "upper": 0.7}
    made = lqi(PLACE, Q, R, 0.5, **limits)
    law = lambda x, w: -made.gain @ x + made.feed_forward @ w
    policy = IntegralAction(law, -made.integral_gain, miss, dt=PLACE.dt, **limits)
    other = LinearDiscrete(A, 0.7 * B, PLACE.C, dt=0.2)
    references = jnp.full((300, 1), 2.0)
    ours, theirs = (rollout(other, p, jnp.zeros(2), references) for p in (policy, made))
    assert np.max(theirs.u) == 0.7 and np.min(theirs.u) == -0.4
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-12)
    biased = IntegralAction(lambda x, w: law(x, w) - 0.2, policy.gain, miss, dt=PLACE.dt, **limits)
    end = rollout(other, biased, jnp.zeros(2), references).x[-1]
    np.testing.assert_allclose(end, [2.0, 0.0], atol=1e-6)


def test_they_stand_behind_an_observer_and_around_each_other():
    inner = IntegralAction(RECURRENT, np.array([[0.1]]), miss, dt=PLACE.dt, **LIMITS)
    policy = OutputFeedback(KalmanFilter(PLACE, 1e-3, 1e-2, Gaussian(np.array([1.0, -0.5]), 1e-6)), inner)
    run = rollout(PLACE, policy, X0, jnp.zeros((5, 1)), observe=lambda x: x[:1])
    direct = rollout(PLACE, inner, X0, jnp.zeros((5, 1)))  # the start is known, and nothing disturbs
    np.testing.assert_allclose(run.u, direct.u, atol=1e-9)
    assert run.report is None


def residuals(policy, x0s):
    """Of which half of the squares is the cost of the regulator."""
    runs = jax.vmap(lambda x0: rollout(PLACE, policy, x0, None, steps=25))(x0s)
    return runs.x * np.sqrt(np.diag(Q)), runs.u * np.sqrt(R)


X0S = jr.uniform(jr.key(3), (24, 2), minval=-1.0, maxval=1.0)


def trained(policy, steps):
    """The policy, and its cost over the best there is."""
    loss = LeastSquares(residuals)
    found = fit(policy, loss, X0S, LevenbergMarquardt(), steps=steps, key=KEY, progress=False, throw=False)
    ideal = eqx.filter_jit(loss)(REGULATOR, X0S)
    return found.value, float(found.stats.losses[0] / ideal), float(eqx.filter_jit(loss)(found.value, X0S) / ideal)


def test_training_finds_the_regulator():
    policy = NeuralPolicy(X0, None, U, width=6, depth=1, activation=jnp.tanh, lower=-2.0, upper=2.0, key=KEY)
    _, before, after = trained(policy, 60)
    assert before > 2.0 and 0.999 < after < 1.02


def test_a_function_with_parameters_is_a_policy():
    """What `Partial` holds is trained; no class is needed."""
    law = Partial(lambda gain, x, w: -gain @ x, jnp.array([[0.5, 0.5]]))
    found, _, after = trained(law, 20)
    assert after < 1 + 1e-4
    np.testing.assert_allclose(found.args[0], REGULATOR.gain, rtol=0.02)  # 25 steps instead of infinitely many


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: NEURAL(X0[:1], W), ValueError, r"`x, w`: got .*\(1,\)"),
        (lambda: NEURAL(X0, jnp.zeros(4)), ValueError, "build the policy from examples"),
        (lambda: rollout(PLACE, RECURRENT, X0, None, steps=3), ValueError, "`x, w`: got"),
        (lambda: NeuralPolicy(None, None, U, key=KEY), ValueError, "`x, w`: got .* without entries"),
        (lambda: NeuralPolicy(X0, W, U, scale=(1.0, 0.0), key=KEY), ValueError, "`scale`: got 0"),
        (lambda: NeuralPolicy(X0, W, U, center=np.zeros(3), key=KEY), ValueError, "`center`: got .* a prefix of"),
        (lambda: NeuralPolicy(X0, W, U, scale=[1.0] * 3, key=KEY), ValueError, "`scale`: got .* a pair for"),
        (lambda: NeuralPolicy(X0, W, U, lower=1.0, upper=0.0, key=KEY), ValueError, "`lower`: got lower 1.0"),
        (lambda: NeuralPolicy(X0, W, U, width=0, key=KEY), ValueError, "`width`: got 0"),
        (lambda: NeuralPolicy(X0, W, U, key=0), TypeError, "`key`"),
        (lambda: RecurrentPolicy(X0, W, U, hidden=0, key=KEY), ValueError, "`hidden`: got 0"),
        (lambda: AffineInError(np.zeros(2), REGULATOR.target, W, key=KEY), ValueError, r"`gain`: got shape \(2,\)"),
        (lambda: AFFINE(jnp.zeros(3), W), ValueError, "`x, w`: got"),
        (
            lambda: AffineInError(np.zeros((1, 2)), lambda w: (w, w), W, key=KEY)(X0, W),
            ValueError,
            r"`target`: got shapes \(1,\) and \(1,\)",
        ),
        (lambda: IntegralAction(3, np.eye(1), miss, dt=1.0), TypeError, "`policy`: got 3"),
        (lambda: IntegralAction(NEURAL, np.ones(1), miss, dt=1.0), ValueError, r"`gain`: got shape \(1,\)"),
        (lambda: IntegralAction(NEURAL, np.eye(1), miss, dt=0.0), ValueError, "`dt`: got 0"),
        (lambda: IntegralAction(NEURAL, np.eye(1), miss, dt=1.0, lower=2.0, upper=0.0), ValueError, "`lower`"),
        (lambda: act(IntegralAction(NEURAL, np.eye(2), miss, dt=1.0), X0, W), ValueError, r"`policy`: got .*\(1,\)"),
        (
            lambda: act(IntegralAction(NEURAL, np.ones((1, 2)), miss, dt=1.0), X0, W),
            ValueError,
            r"`error`: got a value of shape \(1,\); expected \(2,\), as `gain` \(1, 2\) asks",
        ),
    ],
)
def test_bad_input_is_named(unchecked, call, error, match):
    with pytest.raises(error, match=match):
        call()
