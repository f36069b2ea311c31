"""Scores of a free run, against NumPy on the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.metrics import forecast_errors, nrmse, r2, rmse

RNG = np.random.default_rng(0)
Y = RNG.normal(size=(40, 2)) * [1.0, 30.0] + [5.0, 0.0]
S = Y + RNG.normal(size=(40, 2)) * [0.1, 50.0]


@pytest.mark.parametrize("skip", [0, 7, 39 - 1])
def test_definitions_per_channel(skip):
    error = np.sqrt(np.mean((Y[skip:] - S[skip:]) ** 2, axis=0))
    relative = error / np.std(Y[skip:], axis=0)
    scores = forecast_errors(Y, S, skip=skip)
    np.testing.assert_allclose(scores.rmse, error, rtol=1e-13)
    np.testing.assert_allclose(scores.nrmse, relative, rtol=1e-13)
    np.testing.assert_allclose(scores.r2, 1 - relative**2, rtol=1e-12)
    np.testing.assert_allclose(scores.fit_percent, 100 * (1 - relative), rtol=1e-12)


def test_r2_by_sums_of_squares():
    expected = 1 - np.sum((Y - S) ** 2, axis=0) / np.sum((Y - Y.mean(axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(r2(Y, S), expected, rtol=1e-12)


def test_numbers_by_hand():
    y, s = jnp.array([9.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 1.0])
    assert rmse(y, s, skip=1) == 1.0
    assert nrmse(y, s, skip=1) == 1.0
    assert r2(y, s, skip=1) == 0.0


def test_one_signal_gives_scalars_and_mixed_dtypes_work():
    scores = forecast_errors(Y[:, 0], jnp.asarray(S[:, 0], jnp.float32))
    assert scores.rmse.shape == () and scores.rmse.dtype == jnp.float64


def test_float32_jit_and_vmap():
    y, s = jnp.asarray(Y, jnp.float32), jnp.asarray(S, jnp.float32)
    batch = jax.jit(jax.vmap(lambda s: nrmse(y, s, skip=3)))(jnp.stack([s, 2 * s]))
    assert batch.dtype == jnp.float32
    np.testing.assert_allclose(batch[1], nrmse(y, 2 * s, skip=3), rtol=1e-5)


@pytest.mark.parametrize(
    "y, s, skip, match",
    [
        (Y, S[:-1], 0, r"`simulated`: got shape \(39, 2\); expected the shape of `measured`, \(40, 2\)"),
        (Y, S, 40, "`skip`: got 40; expected 0 <= skip < 40"),
        (Y, S, -1, "`skip`: got -1"),
        (Y, np.where(S > 60, np.nan, S), 0, "`simulated`: got [0-9]+ entries that are NaN or infinite"),
        (np.where(Y > 5, np.inf, Y), S, 0, "`measured`: got [0-9]+ entries that are NaN or infinite"),
    ],
)
def test_bad_signals_are_named(y, s, skip, match):
    with pytest.raises(ValueError, match=match):
        forecast_errors(y, s, skip=skip)


@pytest.mark.parametrize("score", [nrmse, r2, forecast_errors])
def test_constant_measurements_have_no_relative_score(score):
    with pytest.raises(ValueError, match="`measured`: got a channel that is constant"):
        score(np.ones(5), np.arange(5.0))
    assert rmse(np.ones(5), np.ones(5)) == 0.0


def test_samples_before_the_window_may_be_missing():
    y = np.where(np.arange(40) < 5, np.nan, Y[:, 0])
    assert np.isfinite(rmse(y, S[:, 0], skip=5))


@pytest.mark.parametrize("jit", [False, True])
def test_missing_samples_do_not_count(jit):
    mask = RNG.uniform(size=Y.shape) < 0.7
    spoilt = np.where(mask, Y, np.nan)
    score = lambda y, s, m: forecast_errors(y, s, skip=3, is_measured=m)
    scores = (jax.jit(score) if jit else score)(jnp.asarray(spoilt), jnp.asarray(S), jnp.asarray(mask))
    for k in range(2):
        keep = np.flatnonzero(mask[:, k])
        keep = keep[keep >= 3]
        expected = forecast_errors(Y[keep, k], S[keep, k])
        for got, one in zip(jax.tree.leaves(scores), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got[k], one, rtol=1e-12)


@pytest.mark.parametrize(
    "mask, match",
    [
        (np.ones(5, bool), r"`is_measured`: got shape \(5,\); expected the shape of `measured`, \(40, 2\)"),
        (np.arange(40)[:, None] < [40, 3], "`is_measured`: got a channel without a sample to score"),
        (np.ones((40, 2), bool), "`measured`: got 1 entries that are NaN .* by `is_measured`"),
    ],
)
def test_bad_masks_are_named(mask, match):
    y = np.where(np.arange(40)[:, None] == [9, 99], np.nan, Y)
    with pytest.raises(ValueError, match=match):
        rmse(y, S, skip=3, is_measured=mask)
