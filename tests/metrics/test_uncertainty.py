"""Covariance of a least-squares fit against SciPy's curve_fit, and draws from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sciml.metrics import covariance, sample_parameters

RNG = np.random.default_rng(1)
J = RNG.normal(size=(30, 3)) * [1e-4, 1.0, 1e5]
R = RNG.normal(size=30)


def test_agrees_with_scipys_curve_fit():
    t = np.linspace(0.0, 3.0, 25)
    model = lambda t, a, b, c: a * np.exp(-b * t) + c
    y = model(t, 2.0, 1.3, 0.5) + 0.05 * RNG.normal(size=25)
    theta, expected = scipy.optimize.curve_fit(model, t, y, p0=[1.0, 1.0, 0.0])
    residuals = lambda q: q[0] * jnp.exp(-q[1] * t) + q[2] - y
    cov, errors = covariance(jax.jacfwd(residuals)(jnp.asarray(theta)), residuals(jnp.asarray(theta)))
    # curve_fit differentiates by finite differences: about seven digits, squared by the inverse's condition
    np.testing.assert_allclose(cov, expected, rtol=1e-5)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(expected)), rtol=1e-5)


def test_columns_of_very_different_size():
    cov, _ = covariance(jnp.asarray(J), jnp.asarray(R))
    scale = np.array([1e-4, 1.0, 1e5])
    expected = R @ R / 27 * np.linalg.inv((J / scale).T @ (J / scale)) / scale[:, None] / scale
    np.testing.assert_allclose(cov, expected, rtol=1e-11)


@pytest.mark.parametrize("precision", [2.0, np.array([0.5, 0.0, 3.0]), np.diag([1.0, 2.0, 3.0]) + 0.5])
def test_prior_precision_is_added(precision):
    jacobian = J / [1e-4, 1.0, 1e5]
    cov, _ = covariance(jnp.asarray(jacobian), jnp.asarray(R), precision=precision)
    matrix = precision if np.ndim(precision) == 2 else precision * np.eye(3)
    np.testing.assert_allclose(cov, R @ R / 27 * np.linalg.inv(jacobian.T @ jacobian + matrix), rtol=1e-11)


def test_precision_makes_an_undetermined_parameter_finite():
    jacobian = jnp.asarray(J / [1e-4, 1.0, 1e5]).at[:, 2].set(0.0)
    cov, _ = covariance(jacobian, jnp.asarray(R), precision=4.0)
    np.testing.assert_allclose(cov[2, 2], R @ R / 27 / 4.0, rtol=1e-12)


def test_float32_and_jit():
    args = jnp.asarray(J / [1e-4, 1.0, 1e5], jnp.float32), jnp.asarray(R, jnp.float32)
    cov, errors = jax.jit(covariance)(*args)
    assert cov.dtype == errors.dtype == jnp.float32
    np.testing.assert_allclose(cov, covariance(*args)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dependent, index", [(lambda j: j.at[:, 1].set(0.0), r"\[1\]"), (None, r"\[0, 2\]")])
def test_undetermined_parameters_are_named(dependent, index):
    jacobian = jnp.asarray(J)
    jacobian = jacobian.at[:, 2].set(3e7 * jacobian[:, 0]) if dependent is None else dependent(jacobian)
    with pytest.raises(ValueError, match=f"`jacobian`: got rank 2 for 3 parameters.* with index {index}"):
        covariance(jacobian, jnp.asarray(R))


@pytest.mark.parametrize(
    "jacobian, residual, precision, match",
    [
        (J, R[:-1], None, r"`residual`: got shape \(29,\); expected shape \(30,\)"),
        (J[:3], R[:3], None, "`jacobian`: got 3 residuals for 3 parameters; expected more residuals"),
        (J * np.nan, R, None, "`jacobian`: got numbers that are NaN"),
        (J, R, np.ones(2), r"`precision`: got shape \(2,\); expected a number, shape \(3,\) or \(3, 3\)"),
        (J, R, -1.0, "`precision`: got -1.0; expected numbers >= 0"),
        (J, R, np.diag([1.0, -1.0, 1.0]), "`precision`: got a matrix with a negative eigenvalue"),
    ],
)
def test_bad_fits_are_named(jacobian, residual, precision, match):
    with pytest.raises(ValueError, match=match):
        covariance(jnp.asarray(jacobian), jnp.asarray(residual), precision=precision)


def test_draws_have_the_mean_and_covariance(key):
    cov = jnp.array([[1e-8, 3e-5, 0.0], [3e-5, 4e-1, 0.0], [0.0, 0.0, 0.0]])
    mean = {"a": jnp.array([1.0, -2.0]), "b": jnp.asarray(7.0)}
    draws = sample_parameters(mean, cov, 20_000, key=key)
    assert draws["a"].shape == (20_000, 2) and jnp.all(draws["b"] == 7.0)
    # the error of a sample covariance is about sqrt(2 / n) = 1 %, here at four standard deviations
    np.testing.assert_allclose(np.cov(np.asarray(draws["a"]).T), cov[:2, :2], rtol=0.04)
    errors = np.abs(np.mean(draws["a"], axis=0) - mean["a"]) / np.sqrt(np.diag(cov)[:2] / 20_000)
    assert np.all(errors < 4.0)


@pytest.mark.parametrize(
    "cov, n, match",
    [
        (jnp.eye(3), 5, r"`cov`: got shape \(3, 3\); expected shape \(2, 2\)"),
        (jnp.eye(2), 0, "`n`: got 0; expected at least one draw"),
        (-jnp.eye(2), 5, "`cov`: got a matrix with a negative eigenvalue"),
        (jnp.eye(2) * jnp.nan, 5, "`cov`: got a matrix with a negative eigenvalue or a NaN"),
    ],
)
def test_bad_covariances_are_named(cov, n, match, key):
    with pytest.raises(ValueError, match=match):
        sample_parameters(jnp.zeros(2), cov, n, key=key)
