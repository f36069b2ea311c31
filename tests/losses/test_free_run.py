"""Losses over records: their values by hand, what counts, and what diverges."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from sciml.losses import DerivativeMatching, FreeRun, OneStep
from sciml.simulation import free_run
from sciml.sources import Batch, record, scale_records, stack
from sciml.systems import AbstractDiscreteSystem, LinearContinuous, LinearDiscrete
from sciml.systems.models import Constant, Encoder, scaled, Started
from sciml.training import fit, LevenbergMarquardt
from sciml.training.sparse import slopes

HALVE = LinearDiscrete(A=0.5 * np.eye(1), B=np.zeros((1, 1)), dt=1.0)
NAN = float("nan")


def data(*ys):
    return stack([record(np.array(y), np.zeros(len(y)), dt=1.0) for y in ys])


call = eqx.filter_jit(lambda loss, model, batch: loss(model, batch))


def test_free_run_is_half_the_mean_squared_error_over_what_counts():
    batch = data([1.0, 0.6, 0.3, 0.2], [2.0, NAN, 0.4])
    # Free runs: 1, .5, .25, .125 and 2, 1, .5. The first sample is given, the missing one does not count.
    errors = np.array([0.6 - 0.5, 0.3 - 0.25, 0.2 - 0.125, 0.4 - 0.5])
    np.testing.assert_allclose(call(FreeRun(), HALVE, batch), 0.5 * np.mean(errors**2), rtol=1e-12)
    np.testing.assert_allclose(call(FreeRun(horizon=jnp.asarray(1)), HALVE, batch), 0.5 * errors[0] ** 2, rtol=1e-12)
    doubled = call(FreeRun(weight=jnp.array([2.0])), HALVE, batch)
    np.testing.assert_allclose(doubled, 4 * 0.5 * np.mean(errors**2), rtol=1e-12)
    one = record(np.array([1.0, 0.6]), np.zeros(2), dt=1.0)
    np.testing.assert_allclose(call(FreeRun(), HALVE, one), 0.5 * 0.1**2, rtol=1e-12)


def test_a_given_start_counts_from_its_first_sample():
    batch = data([1.0, 0.6])
    model = Started(HALVE, Constant(jnp.array([0.8])))
    np.testing.assert_allclose(call(FreeRun(), model, batch), 0.5 * np.mean([0.2**2, 0.2**2]), rtol=1e-12)


def test_a_record_that_cannot_start_is_left_out_and_counted():
    """A free run from the place of a missing number would be a prediction from nothing."""
    batch = data([NAN, 0.5, 0.25], [1.0, 0.6, 0.25])
    value, _, report = FreeRun().evaluate(HALVE, Batch(batch, jnp.arange(2)), None, key=jr.key(0))
    np.testing.assert_allclose(value, 0.5 * 0.1**2 / 2, rtol=1e-12)
    assert float(report.failed) == 0.5
    lone = record(np.array([NAN, 0.5, 0.25]), np.zeros(3), dt=1.0)
    with pytest.raises(ValueError, match="`batch`: got no sample that counts; expected measured samples"):
        FreeRun()(HALVE, lone)
    with pytest.raises(ValueError, match="`batch`: got no sample that counts"):
        fit(HALVE, FreeRun(), lone, optax.sgd(0.1), steps=1, key=jr.key(0), progress=False)
    with pytest.raises(ValueError, match="`record`: got sample 0 with outputs that were not measured"):
        free_run(HALVE, lone)
    assert free_run(Started(HALVE, Encoder(1, 1, 1, lag=1, key=jr.key(0))), lone).y.shape == (2, 1)


def test_the_given_sample_of_a_scaled_model_does_not_count_either():
    one = record(np.array([1.0, 0.6, 0.3, 0.2]), np.zeros(4), dt=1.0)
    scaling = scale_records(one)
    inner = Started(HALVE)
    expected = call(FreeRun(), inner, scaling.apply(one)) * scaling.y.scale[0] ** 2
    outer = scaled(inner, scaling, measures_state=True)
    np.testing.assert_allclose(call(FreeRun(), outer, one), expected, rtol=1e-12)
    assert OneStep()(outer, one) > 0


def test_records_at_other_intervals_than_those_of_the_model_are_refused():
    slow = record(np.array([1.0, 0.5, 0.2]), np.zeros(3), dt=2.0)
    message = "`record`: got samples 2 to 2 apart; expected 1, the sampling time of the discrete model"
    for act in (
        lambda: FreeRun()(HALVE, slow),
        lambda: OneStep()(HALVE, slow),
        lambda: fit(HALVE, FreeRun(), slow, optax.sgd(0.1), steps=1, key=jr.key(0), progress=False),
        lambda: fit(HALVE, OneStep(), slow, LevenbergMarquardt(), steps=1, key=jr.key(0), progress=False),
        lambda: free_run(HALVE, slow),
    ):
        with pytest.raises(ValueError, match=message):
            act()


def test_outputs_that_are_no_state_are_named():
    hidden = LinearDiscrete(0.5 * np.eye(2), np.zeros((2, 1)), np.ones((1, 2)), dt=1.0)
    for act in (
        lambda: FreeRun()(hidden, data([1.0, 0.5])),
        lambda: free_run(hidden, record([1.0, 0.5], [0, 0], dt=1.0)),
    ):
        with pytest.raises(ValueError, match="(?s)`model`: got 1 outputs as the state of a LinearDiscrete.*Encoder"):
            act()


def test_one_step_starts_at_every_measured_sample():
    batch = data([1.0, 0.6, 0.3, 0.2], [2.0, NAN, 0.4])
    # Steps from 1, .6, .3; in the second record none has both ends.
    errors = np.array([0.6 - 0.5, 0.3 - 0.3, 0.2 - 0.15])
    np.testing.assert_allclose(call(OneStep(), HALVE, batch), 0.5 * np.mean(errors**2), rtol=1e-12)
    with pytest.raises(ValueError, match="`model`: got a start by Encoder; expected a measured state"):
        OneStep()(Started(HALVE, Encoder(1, 1, 1, lag=1, key=jr.key(0))), batch)


class Cube(AbstractDiscreteSystem):
    gain: jax.Array
    dt: jax.Array

    def step(self, t, x, u):
        return self.gain * x**3


def test_a_run_that_blows_up_is_counted_and_the_others_are_unharmed():
    batch = data([0.1, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [50.0, 0, 0, 0, 0, 0, 0, 0])
    model = Cube(jnp.asarray(1.0), jnp.asarray(1.0))

    def value(model):
        value, _, report = FreeRun().evaluate(model, Batch(batch, jnp.arange(2)), None, key=jr.key(0))
        return value, report

    (value_, report), slope = eqx.filter_jit(eqx.filter_value_and_grad(value, has_aux=True))(model)
    assert float(report.failed) == 0.5
    assert bool(jnp.isfinite(value_)) and bool(jnp.isfinite(slope.gain))


def test_a_second_order_fit_reports_runs_that_failed():
    """Two records of three: one begins with a gap, one explodes at any gain that fits the others."""
    batch = data([0.1, 0.001, 0.0, 0, 0, 0, 0, 0], [50.0, 0, 0, 0, 0, 0, 0, 0], [NAN, 0.1, 0, 0, 0, 0, 0, 0])
    model = Cube(jnp.asarray(1.0), jnp.asarray(1.0))
    done = fit(
        model, FreeRun(), batch, LevenbergMarquardt(), steps=1, key=jr.key(0), progress=False, throw=False,
        trainable=lambda m: m.gain,
    )  # fmt: skip
    np.testing.assert_allclose(done.stats.failed, 2 / 3)


def test_slopes_of_a_known_system_match_it():
    """A harmonic oscillator, 200 samples of which one is missing: the slopes have errors of 1e-4 or so."""
    t = np.linspace(0.0, 10.0, 200)
    y = np.stack([np.sin(t), np.cos(t)], axis=1)
    y[70] = NAN
    found = slopes(stack([record(y, t=t), record(y[:60], t=t[:60])]))
    assert found.x.shape == (400, 2) and float(jnp.sum(found.weight)) == 260
    turn = LinearContinuous(A=np.array([[0.0, 1.0], [-1.0, 0.0]]), B=np.zeros((2, 1)))
    assert float(call(DerivativeMatching(), turn, found)) < 1e-6
    other = LinearContinuous(A=np.array([[0.0, 1.1], [-1.0, 0.0]]), B=np.zeros((2, 1)))
    # 0.1 cos t in one of two states, half of the mean square of it; without the ends, where splines are less accurate.
    place = np.arange(400)
    inner = ((place >= 20) & (place < 180)) | ((place >= 220) & (place < 240))
    found = eqx.tree_at(lambda s: s.weight, found, jnp.asarray(inner.astype(float)))
    expected = 0.5 * np.mean((0.1 * np.cos(np.asarray(found.t).ravel()[inner])) ** 2) / 2
    np.testing.assert_allclose(call(DerivativeMatching(), other, found), expected, rtol=1e-3)
