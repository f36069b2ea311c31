"""Residual tests: NumPy and SciPy as referees, the nominal rate of false alarms, power, missing samples, errors."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

from sciml.metrics import input_correlation, whiteness

RNG = np.random.default_rng(3)
E, U = RNG.normal(size=150), RNG.normal(size=150)


def test_ljung_box_against_numpy_and_scipy():
    test = whiteness(E, lags=10, fitted=2, confidence=0.95)
    n = E.size
    r = np.array([np.sum(E[: n - k] * E[k:]) for k in range(1, 11)]) / np.sum(E**2)
    q = n * (n + 2) * np.sum(r**2 / (n - np.arange(1, 11)))
    np.testing.assert_allclose(test.correlation, r, rtol=1e-12)
    np.testing.assert_allclose(test.statistic, q, rtol=1e-12)
    np.testing.assert_allclose(test.p_value, scipy.stats.chi2.sf(q, 8), rtol=1e-10)
    variance = (n - np.arange(1, 11)) / (n * (n + 2))
    np.testing.assert_allclose(test.band, scipy.stats.norm.ppf(0.975) * np.sqrt(variance), rtol=1e-9)
    assert test.dof == 8 and test.lag.tolist() == list(range(1, 11))


def test_a_sample_that_is_missing_has_no_influence():
    mask = RNG.uniform(size=150) < 0.6
    first = whiteness(np.where(mask, E, np.nan), lags=8, is_measured=mask)
    pairs = np.array([np.sum(mask[: 150 - k] & mask[k:]) for k in range(1, 9)])
    filled = np.where(mask, E, 0.0)
    r = np.array([np.sum(filled[: 150 - k] * filled[k:]) for k in range(1, 9)]) / np.sum(filled**2)
    n = np.sum(mask)
    np.testing.assert_allclose(first.statistic, n * (n + 2) * np.sum(r**2 / pairs), rtol=1e-12)
    # Padding at the end changes nothing.
    longer = lambda x, fill: np.concatenate([x, np.full(50, fill)])
    second = whiteness(longer(E, 7.0), lags=8, is_measured=longer(mask, False))
    np.testing.assert_allclose(second.statistic, first.statistic, rtol=1e-12)
    np.testing.assert_allclose(second.band, first.band, rtol=1e-12)


def test_a_lag_without_pairs_is_not_tested():
    mask = np.arange(150) % 2 == 0  # every second sample: no pairs at odd lags
    test = whiteness(E, lags=6, is_measured=mask)
    assert test.dof == 3 and np.all(np.asarray(test.correlation)[::2] == 0.0)
    assert float(whiteness(np.zeros(50)).p_value) == 1.0 and float(whiteness(np.zeros(50)).dof) == 0.0


@pytest.fixture(scope="module")
def repeated():
    """p-values over 400 draws: white and coloured residuals, and cross-correlations."""

    def coloured(noise, pole):
        return jax.lax.scan(lambda x, w: (pole * x + w,) * 2, jnp.zeros(()), noise)[1]

    def draw(key):
        noise, u, keep = jr.normal(key, (3, 250))
        keep = keep < 0.5  # 69 % are measured
        dirty, slow = coloured(noise, 0.6), coloured(u, 0.8)
        missed = dirty + 0.6 * jnp.concatenate([jnp.zeros(2), slow[:-2]])
        return {
            "white": whiteness(noise, lags=15).p_value,
            "white, missing": whiteness(noise, lags=15, is_measured=keep).p_value,
            "coloured": whiteness(coloured(noise, 0.4), lags=15).p_value,
            "independent": input_correlation(dirty, slow, lags=8).p_value,
            "dependent": input_correlation(missed, slow, lags=8).p_value,
            "dependent, missing": input_correlation(missed, slow, lags=8, is_measured=keep).p_value,
            "outside": jnp.mean(jnp.abs(whiteness(noise, lags=15).correlation) > whiteness(noise, lags=15).band),
        }

    return jax.jit(jax.vmap(draw))(jr.split(jr.key(5), 400))


def test_white_noise_passes_at_the_nominal_rate(repeated):
    """Rejections at level a are binomial: a ± 3 sqrt(a (1 - a) / 400)."""
    for name in ("white", "white, missing"):
        for level, slack in ((0.05, 0.033), (0.5, 0.075)):
            assert abs(np.mean(repeated[name] < level) - level) < slack, name
    assert abs(np.mean(repeated["outside"]) - 0.01) < 0.005  # 6000 correlations, 99 % band


def test_coloured_noise_and_missed_dynamics_fail(repeated):
    for name in ("coloured", "dependent", "dependent, missing"):
        assert np.mean(repeated[name] < 0.01) > 0.95, name


def test_an_independent_input_passes_although_both_are_coloured(repeated):
    # The window makes the test conservative: fewer rejections than the level.
    assert np.mean(repeated["independent"] < 0.05) <= 0.05
    assert np.mean(repeated["independent"] < 0.5) > 0.2


def test_cross_correlation_against_numpy():
    test = input_correlation(E, U, lags=5)
    u = U - U.mean()
    c = np.array([np.sum(E[k:] * u[: 150 - k]) for k in range(6)])
    np.testing.assert_allclose(test.correlation, c / np.linalg.norm(E) / np.linalg.norm(u), rtol=1e-11)
    auto = lambda x, k: np.sum(x[: 150 - abs(k)] * x[abs(k) :])
    terms = lambda shift: [(1 - abs(k) / 21) * auto(E, k) * auto(u, k + shift) / 150 for k in range(-20, 21)]
    covariance = np.array([[sum(terms(i - j)) for j in range(6)] for i in range(6)])
    q = c @ np.linalg.solve(covariance, c)
    np.testing.assert_allclose(test.statistic, q, rtol=1e-9)
    np.testing.assert_allclose(test.p_value, scipy.stats.chi2.sf(q, 6), rtol=1e-8)
    assert test.dof == 6


def test_inputs_that_do_not_excite_lose_degrees_of_freedom():
    constant = input_correlation(E, np.full(150, 3.0), lags=5)
    assert constant.dof == 0 and constant.p_value == 1.0 and np.all(constant.correlation == 0)
    sine = input_correlation(E, np.sin(0.3 * np.arange(150)), lags=5)
    assert 2 <= sine.dof <= 6 and np.isfinite(sine.p_value)


def test_channels_are_single_tests():
    e, u = RNG.normal(size=(80, 2)), RNG.normal(size=(80, 3))
    several, white = input_correlation(e, u, lags=4), whiteness(e, lags=4)
    assert several.correlation.shape == (2, 3, 5) and several.lag.shape == (5,) and white.p_value.shape == (2,)
    single = input_correlation(e[:, 1], u[:, 2], lags=4)
    np.testing.assert_allclose(several.statistic[1, 2], single.statistic, rtol=1e-10)
    np.testing.assert_allclose(white.statistic[1], whiteness(e[:, 1], lags=4).statistic, rtol=1e-12)


def test_float32_and_gradient():
    single = whiteness(E.astype(np.float32), lags=10)
    assert single.p_value.dtype == jnp.float32
    np.testing.assert_allclose(single.p_value, whiteness(E, lags=10).p_value, rtol=1e-3)
    value = lambda e: whiteness(e, lags=10).statistic
    slope = jax.grad(value)(jnp.asarray(E)) @ U
    ends = [value(jnp.asarray(E + h * U)) for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: whiteness(E, lags=150), "`lags`: got 150; expected 1 <= lags < 150"),
        (lambda: whiteness(E, fitted=20), "`fitted`: got 20; expected 0 <= fitted < lags = 20"),
        (lambda: whiteness(E, confidence=95.0), "`confidence`: got 95.0"),
        (lambda: whiteness(np.where(E > 2, np.nan, E)), "`residual`: got entries that are NaN"),
        (lambda: whiteness(np.zeros((2, 30, 1))), r"`residual`: got shape \(2, 30, 1\)"),
        (lambda: whiteness(E, is_measured=np.ones(10, bool)), r"`is_measured`: got shape \(10,\)"),
        (lambda: input_correlation(E, U[:-1]), "`u`: got 149 samples; expected 150"),
        (lambda: input_correlation(E, U * np.inf), "`u`: got entries that are NaN"),
    ],
)
def test_bad_input_is_named(unchecked, call, match):
    with pytest.raises(ValueError, match=match):
        call()
