"""Sparse identification: elimination of states, smoother, and all methods on systems whose equations are known."""

from functools import cache

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.core import is_successful, RESULTS
from sciml.sources import Record, record, stack
from sciml.systems.models import Fourier, Functions, Polynomial
from sciml.training.sparse import Bagging, Derivatives, ErrorsInVariables, sindy, STLSQ, WeakForm
from sciml.training.sparse._arrow import Arrow, eliminate
from sciml.training.sparse._chain import chain_of
from sciml.training.sparse._selection import criterion
from sciml.training.sparse._smooth import smooth
from tests.laws.registries import cast


def flow(field, x0, t):
    return solve_ivp(field, (t[0], t[-1]), x0, t_eval=t, rtol=1e-11, atol=1e-11, method="DOP853").y.T


# ------------------------------------------------------------------------------------------------------ linear algebra


def test_elimination_equals_a_dense_solve():
    rng = np.random.default_rng(0)
    n, d, q = 5, 2, 3
    J = rng.normal(size=(40, n * d + q))
    for row in J:  # each residual touches two neighbours
        k = rng.integers(n - 1)
        mask = np.ones(n * d + q, bool)
        mask[k * d : (k + 2) * d] = mask[n * d :] = False
        row[mask] = 0
    M, r = J.T @ J, rng.normal(size=n * d + q)
    A, C = M[: n * d, : n * d], M[: n * d, n * d :]
    block = lambda i, j: A[i * d : (i + 1) * d, j * d : (j + 1) * d]
    system = Arrow(
        jnp.array([block(k, k) for k in range(n)]),
        jnp.array([block(k + 1, k) for k in range(n - 1)]),
        jnp.array(C.reshape(n, d, q)),
        jnp.array(r[: n * d].reshape(n, d)),
        jnp.array(M[n * d :, n * d :]),
        jnp.array(r[n * d :]),
    )
    reduced = jax.jit(eliminate)(system)
    dense = -np.linalg.solve(M, r)
    step = -jnp.linalg.solve(reduced.matrix, reduced.gradient)
    # Rounding times the condition of a random 13 x 13 Gram matrix.
    np.testing.assert_allclose(step, dense[n * d :], rtol=1e-9)
    np.testing.assert_allclose(reduced.states(step).ravel(), dense[: n * d], rtol=1e-9)
    np.testing.assert_allclose(reduced.log_determinant, np.linalg.slogdet(A)[1], rtol=1e-12)


# ------------------------------------------------------------------------------------------------------------- data


def forced(t, x, u):
    """A damped hardening spring: d q/dt = v, d v/dt = -q - 0.3 v - 0.5 q³ + u."""
    return np.array([x[1], -x[0] - 0.3 * x[1] - 0.5 * x[0] ** 3 + u])


SPRING = np.zeros((20, 2))  # monomials of (q, v, f) up to degree 3
SPRING[2, 0], SPRING[[1, 2, 3, 10], 1] = 1.0, [-1.0, -0.3, 1.0, -0.5]


@cache
def springs(noise: float = 0.05) -> Record:
    """Three records of unequal length and sampling, with gaps."""
    rng, parts = np.random.default_rng(0), []
    for n, dt in ((150, 0.1), (90, 0.07), (200, 0.1)):
        u = np.repeat(rng.uniform(-2, 2, n // 10 + 1), 10)[:n]
        x = np.zeros((n, 2))
        x[0] = rng.normal(size=2)
        for k in range(n - 1):
            field = lambda t, x, now=u[k]: forced(t, x, now)
            x[k + 1] = solve_ivp(field, (0, dt), x[k], rtol=1e-9, atol=1e-10).y[:, -1]
        y = x + noise * rng.normal(size=x.shape)
        y[20:25, 0] = y[40:60:3, 1] = np.nan
        parts.append(record(y, u, dt=dt))
    return stack(parts)


@cache
def thomas() -> Record:
    """Thomas's attractor, b = 0.208186, without noise; sampled as in NeuroMANCER's example, a fifth of its length."""
    t = 0.1 * np.arange(200)
    x = flow(lambda t, x: np.sin(np.roll(x, -1)) - 0.208186 * x, [1.0, -1.0, 1.0], t)
    return record(x, t=t)


THOMAS = np.zeros((10, 3))  # sines, cosines, one, states
THOMAS[[1, 2, 0], [0, 1, 2]] = 1.0
THOMAS[[7, 8, 9], [0, 1, 2]] = -0.208186
WAVES = Fourier([1.0]) + Polynomial(1)


# ------------------------------------------------------------------------------------------------- errors in variables


def test_smoother_finds_noise_states_and_rates():
    t = np.linspace(0, 10, 400)
    clean = np.stack([np.sin(t), 100 * np.cos(2 * t)], axis=1)
    y = clean + np.array([0.1, 5.0]) * np.random.default_rng(1).normal(size=clean.shape)
    y[100:110] = np.nan
    chain = chain_of(record(y, t=t))
    found = smooth(chain)
    # The deviation of a variance from 390 samples is 1/√780 of it: 10 % is three of these for its root.
    np.testing.assert_allclose(found.noise, [0.1, 5.0], rtol=0.1)
    error = np.sqrt(np.mean((np.asarray(found.x) - clean) ** 2, axis=0))
    assert np.all(error < np.array([0.1, 5.0]) / 3)
    rate = np.stack([np.cos(t), -200 * np.sin(2 * t)], axis=1)
    assert np.all(np.sqrt(np.mean((np.asarray(found.rate) - rate)[20:-20] ** 2, axis=0)) < [0.1, 20])


def test_ragged_forced_records_with_gaps_give_the_exact_terms():
    data = springs()
    found = sindy(Polynomial(3), data, ErrorsInVariables(), names=["q", "v", "f"])
    c, stats = np.asarray(found.value.coefficients), found.stats
    assert bool(is_successful(found.result))
    assert np.array_equal(c != 0, SPRING != 0)
    assert str(found.value).startswith("d q/dt = ") and "q³" in str(found.value)
    # Within four of its own standard deviations; 5 coefficients, 1 % noise of the largest.
    assert np.all(np.abs(c - SPRING)[SPRING != 0] < 4 * np.asarray(stats.deviation)[SPRING != 0])
    np.testing.assert_allclose(stats.noise, 0.05, rtol=0.15)
    assert stats.x.shape == data.y.shape and np.all(np.asarray(stats.step_error) < 0.3)
    assert stats.sizes[0] == 40 and min(stats.criteria) < stats.criteria[0]


def test_without_noise_the_coefficients_of_thomas_are_exact():
    found = sindy(WAVES, thomas(), ErrorsInVariables())
    # The target of the benchmark; the floor of the noise and the tolerance leave 1e-8 or so.
    np.testing.assert_allclose(found.value.coefficients, THOMAS, atol=1e-7)
    assert np.array_equal(np.asarray(found.value.coefficients) != 0, THOMAS != 0)


@pytest.mark.slow
def test_lorenz_at_twenty_percent_noise():
    """Four seeds of the benchmark `benchmarks/identify/sindy`, which has 32."""
    field = lambda t, x: [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]
    t = 0.01 * np.arange(1001)
    clean = flow(field, [-8, 8, 27], t)
    truth = np.zeros((10, 3), bool)
    truth[[1, 2], 0] = truth[[1, 2, 6], 1] = truth[[3, 5], 2] = True
    for seed in range(4):
        y = clean + 0.2 * np.std(clean) * np.random.default_rng(seed).normal(size=clean.shape)
        found = sindy(Polynomial(2), record(y, t=t), ErrorsInVariables())
        assert np.array_equal(np.asarray(found.value.coefficients) != 0, truth)


def test_criterion():
    """J + k log n + 2 log C(p, k)."""
    np.testing.assert_allclose(criterion(7.0, 2, 5, 100), 7 + 2 * np.log(100) + 2 * np.log(10))


# -------------------------------------------------------------------------------------------------------- least squares


def test_stlsq_is_least_squares_on_the_terms_it_keeps():
    data, library = thomas(), WAVES
    found = sindy(library, data, STLSQ(0.1))
    c = np.asarray(found.value.coefficients)
    assert np.array_equal(c != 0, THOMAS != 0)
    np.testing.assert_allclose(c, THOMAS, atol=1e-3)  # derivatives at the ends of the record
    rows = Derivatives().equations(library, chain_of(data))
    A, b = np.asarray(rows.A), np.asarray(rows.b)
    for i in range(3):
        kept = THOMAS[:, i] != 0
        expected, rss, *_ = np.linalg.lstsq(A[:, kept], b[:, i], rcond=None)
        np.testing.assert_allclose(c[kept, i], expected, rtol=1e-6)  # the ridge
        deviation = np.sqrt(rss[0] / (len(A) - 2) * np.diag(np.linalg.inv(A[:, kept].T @ A[:, kept])))
        np.testing.assert_allclose(np.asarray(found.stats.deviation)[kept, i], deviation, rtol=1e-5)


@pytest.mark.parametrize("is_smoothed", [False, True])
def test_weak_form_has_no_derivatives_of_data(is_smoothed: bool):
    found = sindy(WAVES, thomas(), STLSQ(0.1, equations=WeakForm(20, is_smoothed=is_smoothed)))
    # Trapezoidal sums of a smooth bump converge fast: 1e-4 at 20 samples per window.
    np.testing.assert_allclose(found.value.coefficients, THOMAS, atol=1e-4)


def test_weak_form_over_ragged_records_with_inputs():
    found = sindy(Polynomial(3), springs(), STLSQ(0.15, equations=WeakForm(20)))
    c = np.asarray(found.value.coefficients)
    assert np.array_equal(c != 0, SPRING != 0)
    np.testing.assert_allclose(c, SPRING, atol=0.1)  # noise of 5 %: biased, as least squares are


def test_ensembles_tell_which_terms_are_in_doubt():
    method = Bagging(STLSQ(0.15, equations=WeakForm(20)), members=30)
    found = sindy(Polynomial(3), springs(), method, key=jr.key(0))
    inclusion = np.asarray(found.stats.inclusion)
    assert np.all(inclusion[SPRING != 0] > 0.9) and np.all((inclusion >= 0) & (inclusion <= 1))
    assert np.array_equal(np.asarray(found.value.coefficients) != 0, inclusion >= 0.6)
    assert np.all(np.asarray(found.stats.deviation)[SPRING != 0] > 0)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("method", [STLSQ(0.1), Bagging(STLSQ(0.1), members=3), ErrorsInVariables()])
def test_terms_that_overflow_are_a_result_not_a_model(method):
    library = Functions(lambda x, u: jnp.exp(1e3 * jnp.abs(x)), ["a", "b", "c"])
    found = sindy(library, thomas(), method, key=jr.key(0))
    assert found.result == RESULTS.diverged
    assert bool(jnp.all(found.value.coefficients == 0))


@pytest.mark.slow
def test_single_precision_finds_the_terms():
    """Its floor of the noise, 0.25 % of the states, lies below the 5 % here."""
    single = cast(springs(), jnp.float32)
    found = sindy(Polynomial(3), single, ErrorsInVariables())
    assert found.value.coefficients.dtype == jnp.float32
    assert np.array_equal(np.asarray(found.value.coefficients) != 0, SPRING != 0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sindy(WAVES, record(np.arange(5.0), dt=1.0), STLSQ()), ValueError, "5 measured samples of output 0"),
        (lambda: sindy(WAVES, record(np.ones(20), dt=1.0), STLSQ()), ValueError, "output 0, which is constant"),
        (lambda: sindy(WAVES, thomas(), STLSQ(equations=WeakForm(500))), ValueError, "less than the samples"),
        (lambda: sindy(WAVES, thomas(), Bagging()), TypeError, "`key`: got None"),
        (lambda: STLSQ(0.0), ValueError, "`threshold, ridge`: got threshold = 0.0"),
        (lambda: Bagging(members=1), ValueError, "`members, inclusion`: got members = 1"),
        (lambda: WeakForm(2), ValueError, "`width, stride, order`: got width = 2"),
        (lambda: ErrorsInVariables(tolerance=0.0), ValueError, "got tolerance = 0.0"),
    ],
)
def test_errors(make, error: type, message: str):
    with pytest.raises(error, match=message):
        make()
