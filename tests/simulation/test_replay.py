"""Free runs over records: truth for ragged, irregular ones; a batch equals the loop and is traced once."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.core import RESULTS
from sciml.simulation import replay, rollout
from sciml.sources import record, recorded, stack
from sciml.systems import AbstractContinuousSystem, Heun, LinearDiscrete, zoo


def ragged(lengths=(40, 25, 31)):
    rng = np.random.default_rng(1)
    parts = []
    for n in lengths:
        t = 3.0 + np.cumsum(rng.uniform(0.02, 0.1, n))
        parts.append(record(np.zeros((n, 2)), rng.normal(size=n), t=t))
    return parts, rng.normal(size=(len(lengths), 2))


@pytest.mark.parametrize("is_interpolated", [False, True])
def test_against_scipy(is_interpolated: bool):
    """Irregular times, inputs held or interpolated; RK4 with 8 substeps of at most 0.0125 errs by 1e-9 or so."""
    (one, *_), (x0, *_) = ragged()
    run = replay(zoo.VanDerPol(), x0, one, substeps=8, is_interpolated=is_interpolated)
    t, u, x = np.asarray(one.t), np.asarray(one.u[:, 0]), np.asarray(x0)
    for k in range(len(t) - 1):

        def field(s, x, k=k):
            force = np.interp(s, t, u) if is_interpolated else u[k]
            return [x[1], (1 - x[0] ** 2) * x[1] - x[0] + force]

        x = solve_ivp(field, (t[k], t[k + 1]), x, rtol=1e-11, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(run.x[k + 1], x, atol=1e-7)
    assert bool(jnp.array_equal(run.y, run.x)) and bool(jnp.array_equal(run.t, one.t))


def test_a_batch_of_ragged_records_equals_the_loop_and_is_traced_once():
    parts, x0s = ragged()
    batch = eqx.filter_jit(
        eqx.debug.assert_max_traces(
            lambda system, x0s, data: jax.vmap(lambda x0, r: replay(system, x0, r))(x0s, data), max_traces=1
        )
    )
    runs = batch(zoo.VanDerPol(), x0s, stack(parts))
    assert bool(jnp.all(runs.result == RESULTS.successful))
    for i, one in enumerate(parts):
        alone = replay(zoo.VanDerPol(), x0s[i], one)
        n = int(one.length)
        np.testing.assert_allclose(runs.y[i, :n], alone.y, rtol=0, atol=1e-12)  # asked: 1e-8
        # Padding keeps the last state.
        assert bool(jnp.all(runs.x[i, n:] == runs.x[i, n - 1]))
    others, x0s = ragged((28, 40, 33))
    batch(zoo.VanDerPol(mu=0.5), x0s, stack(others))  # raises if it is traced again


def test_of_a_discrete_system_it_is_the_open_loop_rollout():
    system = LinearDiscrete(A=np.array([[0.9, 0.1], [0.0, 0.8]]), B=np.array([[0.0], [1.0]]), dt=0.2)
    us = np.random.default_rng(2).normal(size=(10, 1))
    run = rollout(system, lambda x, w: w, jnp.ones(2), us)
    again = replay(system, jnp.ones(2), recorded(run))
    np.testing.assert_allclose(again.y, run.y, atol=1e-15)


def test_gradients_reach_parameters_and_initial_state():
    (one, *_), (x0, *_) = ragged((12,))

    def end(mu, x0):
        return jnp.sum(replay(zoo.VanDerPol(mu), x0, one).y[-1])

    slopes = jax.grad(end, argnums=(0, 1))(jnp.array(1.0), jnp.asarray(x0))
    forward = jax.jvp(end, (jnp.array(1.0), jnp.asarray(x0)), (jnp.array(1.0), jnp.zeros(2)))[1]
    np.testing.assert_allclose(slopes[0], forward, rtol=1e-12)
    h = 1e-6
    numeric = (end(jnp.array(1 + h), jnp.asarray(x0)) - end(jnp.array(1 - h), jnp.asarray(x0))) / (2 * h)
    np.testing.assert_allclose(slopes[0], numeric, rtol=1e-7)


class Explosion(AbstractContinuousSystem):
    def vector_field(self, t, x, u):
        return x**3


def test_a_model_that_blows_up_leaves_the_other_records_unharmed():
    data = stack([record(np.zeros(9), t=np.linspace(0, 2.0, 9))] * 2)
    start = jnp.array([[0.1], [30.0]])
    total = lambda start: jnp.sum(jax.vmap(lambda x0, r: replay(Explosion(), x0, r, method=Heun()))(start, data).y)
    runs = jax.vmap(lambda x0, r: replay(Explosion(), x0, r, method=Heun()))(start, data)
    assert (runs.result == RESULTS.diverged).tolist() == [False, True]
    assert int(runs.lost[1]) > 0 and bool(jnp.all(jnp.isfinite(runs.y)))
    assert bool(jnp.all(jnp.isfinite(jax.grad(total)(start))))


def test_mistakes_are_named(unchecked):
    parts, x0s = ragged()
    with pytest.raises(ValueError, match="3 stacked records.*vmap"):
        replay(zoo.VanDerPol(), x0s, stack(parts))
    with pytest.raises(ValueError, match="`substeps`: got 0"):
        replay(zoo.VanDerPol(), x0s[0], parts[0], substeps=0)
    with pytest.raises(TypeError, match="`method`: got .*a Diffrax solver"):
        replay(zoo.VanDerPol(), x0s[0], parts[0], method=diffrax.Tsit5)
    with pytest.raises(TypeError, match="`system`: got float"):
        replay(1.0, x0s[0], parts[0])
