"""Levenberg-Marquardt against SciPy and Optimistix; ensembles; identification by multiple shooting."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from jaxtyping import Array

from sciml.core import RESULTS
from sciml.losses import LeastSquares, MultipleShooting, segments, Shot
from sciml.sources import record as measured
from sciml.training import ensemble, fit, LevenbergMarquardt, multiple_shooting, pick_member, Positive
from sciml.training._multiple_shooting import _first_guess


class Decay(eqx.Module):
    size: Array
    rate: Array


T = np.linspace(0.0, 2.0, 30)
NOISY = 2.0 * np.exp(-1.5 * T) + 0.05 * np.random.default_rng(3).normal(size=30)
DATA = (jnp.asarray(T), jnp.asarray(NOISY))
DECAY = LeastSquares(lambda m, d: m.size * jnp.exp(-m.rate * d[0]) - d[1])
LM = LevenbergMarquardt()


def run(model, loss=DECAY, data=DATA, method=LM, steps=60, **options):
    return fit(model, loss, data, method, steps=steps, key=jr.key(0), progress=False, **options)


def start(size=1.0, rate=0.2) -> Decay:
    return Decay(jnp.asarray(size), jnp.asarray(rate))


@pytest.fixture(scope="module")
def scipy_answer():
    residual = lambda z: z[0] * np.exp(-z[1] * T) - NOISY
    return scipy.optimize.least_squares(residual, [1.0, 0.2], xtol=1e-14, ftol=1e-14, gtol=1e-14)


@pytest.mark.parametrize("method", [LM, optx.LevenbergMarquardt(rtol=1e-10, atol=1e-10)], ids=["ours", "optimistix"])
def test_levenberg_marquardt_against_scipy(scipy_answer, method):
    done = run(start(), method=method)
    # Both stop where the relative decrease is at rounding: the error is its square root times the conditioning.
    np.testing.assert_allclose([done.value.size, done.value.rate], scipy_answer.x, rtol=1e-6)
    np.testing.assert_allclose(done.stats.loss, scipy_answer.cost, rtol=1e-10)
    assert done.result == RESULTS.successful and done.stats.steps < 60


def test_the_matrix_is_the_normal_matrix(scipy_answer):
    done = run(start())
    np.testing.assert_allclose(done.stats.matrix, scipy_answer.jac.T @ scipy_answer.jac, rtol=1e-5)


def test_rosenbrock_from_far():
    rosenbrock = LeastSquares(lambda z, _: jnp.stack([1.0 - z[0], 10.0 * (z[1] - z[0] ** 2)]))
    done = run(jnp.array([-1.2, 1.0]), rosenbrock, (jnp.zeros(1),))
    np.testing.assert_allclose(done.value, 1.0, atol=1e-9)


def test_a_trial_that_is_not_finite_is_rejected():
    # ½ (log z - 1)², from 20: the first Gauss-Newton step leads to z = -20, where the logarithm is NaN.
    loss = LeastSquares(lambda z, _: jnp.log(z) - 1.0)
    full = LevenbergMarquardt(damping=1e-6)
    done = run(jnp.asarray(20.0), loss, (jnp.zeros(1),), full)
    np.testing.assert_allclose(done.value, np.e, rtol=1e-9)


def test_longest_limits_every_step():
    one = run(start(), method=LevenbergMarquardt(longest=0.01), steps=2).value
    assert max(abs(one.size - 1.0), abs(one.rate - 0.2)) == pytest.approx(0.01, rel=1e-12)


def test_transforms_masks_and_float32():
    done = run(Decay(Positive(jnp.asarray(1.0, jnp.float32)), jnp.asarray(1.5, jnp.float32)),
               data=jax.tree.map(lambda x: x.astype(jnp.float32), DATA), trainable=lambda m: m.size)  # fmt: skip
    wave = np.exp(-1.5 * T)
    assert done.value.size.dtype == jnp.float32 and done.value.rate == 1.5
    np.testing.assert_allclose(done.value.size, wave @ NOISY / (wave @ wave), rtol=1e-5)


def test_a_start_of_nan_diverges():
    assert run(start(rate=np.nan), throw=False).result == RESULTS.diverged
    with pytest.raises(Exception, match="^The loss is NaN or infinite at the start"):
        run(start(rate=np.nan))


# ------------------------------------------------------------------------------------------------------------ ensemble


def test_an_ensemble_isolates_the_member_that_diverges(scipy_answer):
    starts = Decay(jnp.array([1.0, 1.0, 3.0, -2.0]), jnp.array([0.2, jnp.nan, 1.0, 0.5]))
    done = ensemble(starts, DECAY, DATA, LM, steps=60)
    assert done.result == RESULTS.successful and done.stats.failed == 0.25
    assert done.stats.losses[1] == jnp.inf and done.stats.order[-1] == 1
    np.testing.assert_allclose(done.stats.losses[jnp.array([0, 2, 3])], scipy_answer.cost, rtol=1e-9)
    np.testing.assert_allclose([done.value.size, done.value.rate], scipy_answer.x, rtol=1e-6)
    alone = run(start())
    np.testing.assert_allclose(pick_member(done.state, 0).rate, alone.value.rate, rtol=1e-12)
    np.testing.assert_allclose(done.stats.matrix[0], alone.stats.matrix, rtol=1e-9)


def test_an_ensemble_fails_only_as_a_whole():
    done = ensemble(Decay(jnp.full(2, jnp.nan), jnp.ones(2)), DECAY, DATA, LM, steps=5)
    assert done.result == RESULTS.diverged and done.stats.failed == 1.0


def test_an_ensemble_needs_a_member_axis():
    with pytest.raises(ValueError, match="`models`.*one common leading axis"):
        ensemble(start(), DECAY, DATA, LM, steps=5)


# --------------------------------------------------------------------------------------------------- multiple shooting


class Oscillator(eqx.Module):
    """Angle and speed of a damped pendulum with gain on its torque, by semi-implicit Euler."""

    stiffness: Array
    damping: Array
    gain: Array


def simulate(model, x0, piece):
    def advance(x, now):
        u, is_live = now
        speed = x[1] + 0.1 * (model.gain * u[0] - model.stiffness * jnp.sin(x[0]) - model.damping * x[1])
        return jnp.where(is_live, jnp.stack([x[0] + 0.1 * speed, speed]), x), x

    end, xs = jax.lax.scan(advance, x0, (piece.u[:-1], piece.is_sample[1:]))
    return jnp.concatenate([xs, end[None]])[:, :1], end


TRUE = Oscillator(jnp.asarray(4.0), jnp.asarray(0.6), jnp.asarray(1.5))


@pytest.fixture(scope="module")
def record():
    u = 2.0 * jnp.sign(jnp.sin(0.21 * jnp.arange(120.0)) + 0.3)
    inputs = measured(jnp.zeros(120), u, dt=0.1)
    clean, _ = jax.jit(simulate)(TRUE, jnp.array([0.4, 0.0]), inputs)
    return measured(clean + 0.02 * jr.normal(jr.key(5), (120, 1)), u, dt=0.1)


def test_multiple_shooting_recovers_parameters_from_noise(record):
    starts = Oscillator(jnp.array([1.0, 9.0, 6.0, jnp.nan]), jnp.array([0.1, 2.0, 0.1, 0.5]), jnp.array([0.5, 3, 1, 1]))
    done = multiple_shooting(
        starts, record, simulate=simulate, x0=jnp.zeros(2), length=20, align=lambda x, y: x.at[0].set(y[0]), keep=2,
        polish=20, progress=False,
    )  # fmt: skip
    assert done.result == RESULTS.successful and done.stats.failed == 0.25
    found, shot = done.value.model, done.value
    # Standard errors from the normal matrix (loss scaled by 1/n): the truth lies within four of them.
    errors = 0.02 * np.sqrt(np.diag(np.linalg.inv(done.stats.matrix)) / 120)
    away = np.abs(np.array([found.stiffness - 4.0, found.damping - 0.6, found.gain - 1.5]))
    assert np.all(away < 4 * errors[:3]) and np.all(errors[:3] < 0.1)
    assert shot.starts.shape == (1, 2) and done.stats.losses.shape == (2,) and done.stats.screened.shape == (4,)
    # It is the minimum of single shooting, found by another code from the truth.
    fun = lambda z: np.asarray(jitted(Oscillator(z[0], z[1], z[2]), z[3:], record)[0] - record.y).ravel()
    jitted = jax.jit(simulate)
    exact = scipy.optimize.least_squares(fun, [4.0, 0.6, 1.5, 0.4, 0.0], xtol=1e-12)
    np.testing.assert_allclose(done.stats.losses.min(), exact.cost / 120, rtol=1e-6)


def test_sparse_and_dense_steps_agree(record):
    cut = segments(record, 20)
    loss = MultipleShooting(jnp.asarray(1.0), simulate)
    dense = LeastSquares(lambda shot, batch: loss.residuals(shot, batch))
    shot = Shot(TRUE, jnp.zeros((6, 2)).at[:, 0].set(cut.pieces.y[:, 0, 0]))
    assert loss.structure(shot, cut) is not None
    sparse, full = run(shot, loss, cut, steps=6), run(shot, dense, cut, steps=6)
    np.testing.assert_allclose(sparse.stats.matrix, full.stats.matrix, rtol=1e-9, atol=1e-12)
    # Where a part is not trained, the pattern of all parameters does not apply.
    part = run(shot, loss, cut, steps=3, trainable=lambda s: (s.model.gain, s.starts))
    assert part.stats.matrix.shape == (13, 13) and part.value.model.stiffness == 4.0


def test_segments_that_begin_with_a_gap_are_not_aligned(record):
    """The second segment begins with a missing sample: its guess is that of the free run, not a position of 0."""
    y = np.array(record.y)
    y[20] = np.nan
    pieces = segments(measured(y, record.u, dt=0.1), 20)
    begins, guesses = jnp.arange(6) == 0, jnp.ones((6, 2))
    models = jax.tree.map(lambda x: x[None], TRUE)
    align = lambda x, y: x.at[0].set(y[0])
    free, aligned = (_first_guess(models, simulate, guesses, begins, pieces, a).starts[0] for a in (None, align))
    np.testing.assert_array_equal(aligned[1], free[1])
    np.testing.assert_array_equal(aligned[2:, 0], y[40::20, 0])


def test_multiple_shooting_refuses_bad_records(record):
    models = jax.tree.map(lambda x: x[None], TRUE)
    with pytest.raises(ValueError, match="`length`: got 0; expected an integer >= 1"):
        multiple_shooting(models, record, simulate=simulate, x0=jnp.zeros(2), length=0, progress=False)
    with pytest.raises(ValueError, match=r"`weight`: got shape \(119, 1\)"):
        multiple_shooting(
            models, record, simulate=simulate, x0=jnp.zeros(2), length=20, weight=jnp.ones((119, 1)), progress=False
        )


def test_multiple_shooting_without_a_sound_start_says_so(record):
    models = Oscillator(jnp.full(2, jnp.nan), jnp.ones(2), jnp.ones(2))
    done = multiple_shooting(
        models,
        record,
        simulate=simulate,
        x0=jnp.zeros(2),
        length=60,
        continuity=(1.0,),
        steps=2,
        polish=2,
        progress=False,
    )
    assert done.result == RESULTS.diverged and done.stats.failed == 1.0
