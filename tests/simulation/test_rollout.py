"""`rollout` against closed forms and a Python loop; the guard; derivatives; records, memory and keys; errors."""

import functools as ft
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from sciml.core import AbstractPolicy, RESULTS
from sciml.simulation import rollout, simulate, ZeroOrderHold
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem, discretise, Exact, Heun, LinearDiscrete, RK4
from sciml.systems.zoo import double_integrator, VanDerPol

GAIN = jnp.array([[-0.8, -1.1]])
X0 = jnp.array([1.0, 0.0])
US = jnp.sin(jnp.arange(30.0))[:, None]


def feedback(x, w):
    return GAIN @ x


def test_linear_feedback_in_closed_form():
    plant = discretise(double_integrator(), Exact(), dt=0.2)
    run = rollout(plant, feedback, X0, None, steps=20)
    loop = np.asarray(plant.A + plant.B @ GAIN)
    truth = np.stack([np.linalg.matrix_power(loop, k) @ X0 for k in range(21)])
    np.testing.assert_allclose(run.x, truth, atol=1e-13)
    np.testing.assert_allclose(run.u, truth[:-1] @ GAIN.T, atol=1e-13)
    np.testing.assert_allclose(run.t, 0.2 * np.arange(21), atol=1e-14)
    assert run.result == RESULTS.successful and int(run.lost) == 0


def test_given_inputs_agree_with_simulate():
    run = rollout(discretise(VanDerPol(), RK4(), dt=0.1), lambda x, w: w, X0, US)
    ts = 0.1 * jnp.arange(31.0)
    held = ZeroOrderHold(ts, jnp.concatenate([US, US[-1:]]))
    np.testing.assert_allclose(run.x, simulate(VanDerPol(), X0, held, ts=ts, method=RK4(), dt=0.1).x, atol=1e-12)
    np.testing.assert_array_equal(run.u, US)
    np.testing.assert_array_equal(run.y, run.x)


class Chain(NamedTuple):
    place: Array
    speed: Array


class Points(AbstractDiscreteSystem):
    """Point masses with a record as state; time enters the force."""

    dt: Array
    damping: Array

    def step(self, t, x, u):
        return Chain(x.place + self.dt * x.speed, x.speed + self.dt * (u - self.damping * x.speed + t))

    def output(self, t, x, u):
        return x.place + t


def test_a_sampling_time_may_be_a_plain_number():
    """Users have no run-time check of types, and a system may declare `dt: float = 0.1`."""
    system = Points(jnp.asarray(0.1), jnp.asarray(0.3))
    object.__setattr__(plain := Points(jnp.asarray(0.1), jnp.asarray(0.3)), "dt", 0.1)
    one, two = (
        rollout(s, lambda x, w: 0.0 * x.place, Chain(jnp.zeros(3), jnp.ones(3)), None, steps=2) for s in (system, plain)
    )
    np.testing.assert_array_equal(one.x.place, two.x.place)
    np.testing.assert_array_equal(one.t, two.t)


class Integral(AbstractPolicy):
    """Integral action with noise on the measurement."""

    gain: Array

    def init(self, x0, w):
        return {"sum": jnp.zeros(3), "count": jnp.asarray(0)}

    def step(self, state, x, w, *, key):
        noise = jnp.zeros(3) if key is None else 0.1 * jr.normal(key, (3,))
        memory = {"sum": state["sum"] + (w["ref"] - x - noise), "count": state["count"] + 1}
        return self.gain * memory["sum"], memory


@pytest.mark.parametrize("with_key", [False, True])
def test_records_memory_keys_and_observation_against_a_loop(with_key, key):
    system, policy = Points(jnp.asarray(0.1), jnp.asarray(0.3)), Integral(jnp.asarray(0.2))
    x, w = Chain(jnp.zeros(3), jnp.ones(3)), {"ref": jnp.arange(12.0).reshape(4, 3)}
    key = key if with_key else None
    run = rollout(system, policy, x, w, observe=lambda x: x.place, key=key)
    keys = [None] * 4 if key is None else jr.split(key, 4)
    memory, t = policy.init(x, None), 0.0
    for k in range(4):
        u, memory = policy.step(memory, x.place, {"ref": w["ref"][k]}, key=keys[k])
        np.testing.assert_allclose(run.u[k], u, atol=1e-14)
        np.testing.assert_allclose(run.y[k], x.place + t, atol=1e-14)
        x, t = system.step(t, x, u), t + 0.1
        np.testing.assert_allclose(run.x.speed[k + 1], x.speed, atol=1e-14)
    assert run.x.place.shape == (5, 3)


def cost(mu: Any, gain: Any, x0: Any, us: Any, dt: Any = 0.2) -> Array:
    run = rollout(discretise(VanDerPol(mu), Heun(), dt=dt), lambda x, w: gain @ x + w, x0, us)
    return jnp.mean(run.x**2) + 0.1 * jnp.mean(run.u**2)


def test_gradient_against_differences_in_both_modes():
    point = (jnp.asarray(0.9), GAIN, X0, US)
    value = jax.jit(cost)
    reverse = jax.jit(jax.grad(cost, (0, 1, 2, 3)))(*point)
    forward = jax.jit(jax.jacfwd(cost, (0, 1, 2)))(*point)
    for mine, other in zip(reverse, forward, strict=False):
        np.testing.assert_allclose(mine, other, rtol=1e-10)
    leaves, tree = jax.tree.flatten(point)
    for k, (leaf, gradient) in enumerate(zip(leaves, reverse, strict=True)):
        direction = jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
        ends = [value(*tree.unflatten([*leaves[:k], leaf + h * direction, *leaves[k + 1 :]])) for h in (1e-5, -1e-5)]
        # central differences: error h**2 f''' plus rounding 1e-16 / h
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, jnp.vdot(gradient, direction), rtol=1e-6, atol=1e-9)


def test_diffrax_methods_have_both_modes_too():
    def end(method, mu):
        return rollout(discretise(VanDerPol(mu), method, dt=0.1), feedback, X0, None, steps=3).x[-1, 0]

    mu = jnp.asarray(0.9)
    theirs = [jax.jit(mode(ft.partial(end, diffrax.Heun())))(mu) for mode in (jax.grad, jax.jacfwd)]
    np.testing.assert_allclose(theirs, jax.jit(jax.grad(ft.partial(end, Heun())))(mu), rtol=1e-12)


def test_second_derivative_is_the_difference_of_the_first():
    gradient = jax.jit(jax.grad(cost))
    second = jax.jit(jax.grad(jax.grad(cost)))(jnp.asarray(0.9), GAIN, X0, US)
    ends = [gradient(jnp.asarray(0.9 + h), GAIN, X0, US) for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(second, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_batch_is_the_loop_of_single_runs():
    x0s = jnp.array([[1.0, 0.0], [0.5, -0.5], [2.0, 1.0]])
    run = jax.jit(jax.value_and_grad(cost, (0, 1)))
    batched = jax.vmap(run, (None, None, 0, None))(jnp.asarray(0.9), GAIN, x0s, US)
    looped = [run(jnp.asarray(0.9), GAIN, x, US) for x in x0s]
    for mine, other in zip(jax.tree.leaves(batched), zip(*map(jax.tree.leaves, looped), strict=True), strict=True):
        np.testing.assert_allclose(mine, np.stack(other), rtol=1e-12)


class Explosive(AbstractContinuousSystem):
    """`dx/dt = c x**3`, with a matrix product so that a batch shares its parameters; overflows at once."""

    c: Array

    def vector_field(self, t, x, u):
        return self.c @ x**3 + u


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_blow_up_freezes_and_keeps_every_gradient_finite(dtype):
    system = discretise(Explosive(jnp.eye(2, dtype=dtype)), RK4(), dt=jnp.asarray(0.1, dtype))
    x0s = jnp.array([[0.1, 0.2], [3.0, 1.0], [0.3, 2.5]], dtype)
    gain = 0.01 * GAIN.astype(dtype)[0]

    def total(system, gain, x0s):
        runs = jax.vmap(lambda x0: rollout(system, lambda x, w: gain * jnp.tanh(x), x0, None, steps=25))(x0s)
        return jnp.mean(runs.x**2), runs

    (value, runs), gradient = jax.jit(jax.value_and_grad(lambda g, x: total(system, g, x), (0, 1), has_aux=True))(
        gain, x0s
    )
    assert np.isfinite(value) and all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert (runs.result == RESULTS.diverged).tolist() == [False, True, True]
    assert int(runs.lost[0]) == 0 and int(runs.lost[1]) > 20
    kept = 25 - int(runs.lost[1])
    assert np.all(np.isfinite(runs.x)) and np.all(np.isfinite(runs.u)) and np.all(runs.x[1, kept:] == runs.x[1, kept])
    of_system = eqx.filter_jit(eqx.filter_grad(lambda s: total(s, gain, x0s)[0]))(system)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(of_system))
    # the sound lane's share of the gradient is the one it has alone
    alone = jax.jit(jax.grad(lambda x: total(system, gain, x)[0]))(x0s[:1])
    np.testing.assert_allclose(3 * gradient[1][0], alone[0], rtol=1e-5)


class Switch(AbstractDiscreteSystem):
    """`x[k+1] = u[k]`: could come back after an infinite input."""

    dt: Array

    def step(self, t, x, u):
        return u


def test_a_frozen_run_stays_frozen():
    us = jnp.array([[1.0], [jnp.inf], [2.0], [3.0]])
    run = rollout(Switch(jnp.asarray(1.0)), lambda x, w: w, jnp.zeros(1), us)
    np.testing.assert_array_equal(run.x[:, 0], [0, 1, 1, 1, 1])
    assert int(run.lost) == 3 and run.result == RESULTS.diverged


def test_float32_stays_float32():
    cast = (a.astype(jnp.float32) for a in (jnp.asarray(0.9), GAIN, X0, US))
    value, gradient = jax.jit(jax.value_and_grad(cost, (0, 1)))(*cast)
    truth, exact = jax.jit(jax.value_and_grad(cost, (0, 1)))(jnp.asarray(0.9), GAIN, X0, US)
    assert value.dtype == gradient[0].dtype == jnp.float32
    np.testing.assert_allclose(value, truth, rtol=1e-5)
    np.testing.assert_allclose(gradient[1], exact[1], rtol=1e-3, atol=1e-5)


def test_new_data_is_not_traced_again():
    traced = eqx.filter_jit(eqx.debug.assert_max_traces(jax.grad(cost), max_traces=1))
    first = traced(jnp.asarray(0.9), GAIN, X0, US, jnp.asarray(0.2))
    assert first != traced(jnp.asarray(0.8), 2 * GAIN, 2 * X0, US + 1, jnp.asarray(0.1))


def test_unrolling_changes_nothing():
    plant = discretise(double_integrator(), Exact(), dt=0.2)
    runs = [rollout(plant, feedback, X0, None, steps=7, unroll=n).x for n in (1, 3)]
    np.testing.assert_allclose(*runs, rtol=1e-14)


def test_wrong_arguments_are_named():
    plant, plant_of_two = discretise(VanDerPol(), RK4(), dt=0.1), discretise(double_integrator(), Exact(), dt=0.2)
    with pytest.raises(ValueError, match=r"`policy`: got an output .*shape=\(2,\).*expected an array of shape \(1,\)"):
        rollout(plant, lambda x, w: x, X0, US)
    with pytest.raises(ValueError, match=r"`policy`: got an output .* on which `system.step` raises"):
        rollout(
            Points(jnp.asarray(0.1), jnp.asarray(0.1)), lambda x, w: jnp.ones(2), Chain(jnp.zeros(3), jnp.zeros(3)), US
        )
    with pytest.raises(
        ValueError, match=r"`x0`: got a state .*shape=\(3,\).* on which `system.step` raises.*one entry per"
    ):
        rollout(plant_of_two, lambda x, w: w, jnp.zeros(3), US)
    with pytest.raises(ValueError, match=r"`system`: got a step that returns .*expected the structure.*`x0`"):
        rollout(Switch(jnp.asarray(1.0)), lambda x, w: jnp.ones(3), jnp.zeros(2), None, steps=2)
    with pytest.raises(ValueError, match=r"`exogenous`: got leaves of shapes"):
        rollout(plant, lambda x, w: w["u"], X0, {"u": US, "d": US[:3]})
    with pytest.raises(ValueError, match=r"`steps`: got None; expected an integer >= 1 where `exogenous` is None"):
        rollout(plant, feedback, X0, None)
    with pytest.raises(ValueError, match=r"`steps`: got 4; expected None or 30"):
        rollout(plant, lambda x, w: w, X0, US, steps=4)
    with pytest.raises(ValueError, match=r"`x0`: got a str"):
        rollout(plant, feedback, "here", US)


def test_wrong_kinds_are_named():
    door = getattr(rollout, "__wrapped__", rollout)  # in the tests a runtime type checker stands before the door
    plant = discretise(VanDerPol(), RK4(), dt=0.1)
    with pytest.raises(
        TypeError, match=r"`system`: got VanDerPol, in continuous time; expected .*systems.discretise\("
    ):
        door(VanDerPol(), feedback, X0, US)
    with pytest.raises(TypeError, match=r"`system`: got <function.*expected a system in discrete time.*subclass"):
        door(lambda t, x, u: x, feedback, X0, US)
    with pytest.raises(TypeError, match=r"`policy`: got None; expected a function `\(x, w\) -> u`.*lambda x, w: w"):
        door(plant, None, X0, US)
    with pytest.raises(TypeError, match=r"`policy`: got an array of shape \(30, 1\); expected a function"):
        door(plant, US, X0, None, steps=30)
    with pytest.raises(ValueError, match="`x0`: got None; expected numbers"):
        door(plant, feedback, None, US)
    with pytest.raises(TypeError, match=r"`key`: got 0; expected one key of `jax.random`"):
        door(plant, feedback, X0, US, key=0)


def test_discrete_systems_need_no_continuous_one():
    run = rollout(
        LinearDiscrete(*np.array([[[0.5]], [[1.0]], [[2.0]]]), dt=1.0), lambda x, w: w, jnp.ones(1), jnp.zeros((3, 1))
    )
    np.testing.assert_allclose(run.x[:, 0], [1, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(run.y, 2 * run.x)
