"""Signals: spectra, probabilities and correlations that are known in closed form; bounds that always hold."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.interpolate
import scipy.signal
import scipy.stats

from sciml.sources import signals
from sciml.sources.signals._binary import TAPS

# What a signal needs besides key, time and bounds; the number of samples is `TIME`.
TIME, DT = 512, 0.01
SIGNALS: dict[str, dict] = {
    "arma": {"ar": jnp.array([0.9]), "ma": jnp.array([0.5])},
    "beta": {},
    "beta_autoregression": {"correlation": 0.9},
    "beta_walk": {"max_step": 0.5},
    "chirp": {"start": 0.5, "stop": 20.0, "dt": DT},
    "prbs": {"order": 6, "every": 3},
    "multisine": {"band": (0.5, 10.0), "dt": DT, "iterations": 5},
    "random_binary": {"switch": 0.2, "every": 3},
    "random_walk": {"step": 0.3},
    "sawtooth": {"frequency": 1.7, "dt": DT},
    "schroeder": {"band": (0.5, 10.0), "dt": DT, "iterations": 5},
    "sine": {"frequency": 1.7, "dt": DT},
    "spline": {"every": 10},
    "square": {"frequency": 1.7, "dt": DT},
    "steps": {"every": 10},
    "white_noise": {"sigma": 0.5},
}
SLOW = {"beta", "beta_autoregression", "beta_walk"}  # the loops of jax.random.loggamma take long to compile
KEYLESS = {"chirp", "prbs", "sawtooth", "schroeder", "sine", "square"}
LOW, HIGH = np.array([-1.0, 0.3, 2.0]), np.array([0.7, 0.9, 2.0])  # the last input is constant


def maker(name: str, time: int = TIME, **options) -> Callable:
    """`(key, low, high) -> signal`; signals without a key ignore it."""
    function = getattr(signals, name)
    function = (lambda _, *rest, f=function, **options: f(*rest, **options)) if name in KEYLESS else function
    return lambda key, low, high: function(key, time, low, high, **SIGNALS[name], **options)


def test_the_registry_is_complete():
    assert set(SIGNALS) == {name for name in dir(signals) if callable(getattr(signals, name)) and name[0] != "_"}


@pytest.mark.parametrize("name", SIGNALS)
def test_samples_stay_inside_the_bounds_and_keys_batch(name, key):
    keys, make = jr.split(key, 3), maker(name)
    batch = np.asarray(jax.jit(jax.vmap(make, in_axes=(0, None, None)))(keys, LOW, HIGH))
    assert batch.shape == (3, TIME, 3) and batch.dtype == np.float64
    assert np.all((batch >= LOW) & (batch <= HIGH))
    assert np.all(np.ptp(batch[..., :2], axis=1) > 0.5 * (HIGH - LOW)[:2])  # most of the range is visited
    if name not in SLOW:
        np.testing.assert_allclose(batch[1], jax.jit(make)(keys[1], LOW, HIGH), atol=1e-12)
    if name not in KEYLESS:
        assert not np.array_equal(batch[0], batch[1])
        relative = (batch[0] - LOW)[:, :2] / (HIGH - LOW)[:2]
        assert not np.allclose(*relative.T)  # inputs are independent


@pytest.mark.parametrize("name", SIGNALS)
def test_float32_stays_float32_and_one_sample_is_a_signal(name, key):
    low, high = jnp.asarray(LOW[:1], jnp.float32), jnp.asarray(HIGH[:1], jnp.float32)
    if name in SLOW:
        assert jax.eval_shape(maker(name), key, low, high).dtype == np.float32
    else:
        u = np.asarray(jax.jit(maker(name))(key, low, high))
        assert u.dtype == np.float32 and u.shape == (TIME, 1) and np.all((u >= low) & (u <= high))
    if name != "chirp":
        make = maker(name, 1, **({"period": TIME} if "band" in SIGNALS[name] else {}))
        assert jax.eval_shape(make, key, low, high).shape == (1, 1)


# ------------------------------------------------------------------------------------------------------- periodic


def test_periodic_signals_are_those_of_scipy():
    t = DT * (np.arange(TIME) + 0.37)  # no sample on an edge
    phase, frequency = 2 * np.pi * 0.37 * DT * 1.7, {"frequency": 1.7, "dt": DT}
    angle = 2 * np.pi * 1.7 * t
    np.testing.assert_allclose(signals.sine(TIME, -1, 1, **frequency, phase=phase)[:, 0], np.sin(angle), atol=1e-12)
    ours = signals.square(TIME, -1, 1, **frequency, phase=phase, duty=0.3)[:, 0]
    np.testing.assert_array_equal(ours, scipy.signal.square(angle, 0.3))
    ours = signals.sawtooth(TIME, -1, 1, **frequency, phase=phase)[:, 0]
    np.testing.assert_allclose(ours, scipy.signal.sawtooth(angle), atol=1e-12)


@pytest.mark.parametrize("is_logarithmic", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0.5, 20.0), (20.0, 0.5), (3.0, 3.0)])
def test_the_frequency_of_a_chirp_goes_from_start_to_stop(is_logarithmic, start, stop):
    u = signals.chirp(2000, -1.0, 1.0, start=start, stop=stop, dt=DT, is_logarithmic=is_logarithmic)[:, 0]
    t = DT * np.arange(2000)
    method = "logarithmic" if is_logarithmic else "linear"
    expected = scipy.signal.chirp(t, start, t[-1], stop, method=method, phi=-90)
    np.testing.assert_allclose(u, expected, atol=1e-9)  # 200 cycles in float64
    analytic = np.unwrap(np.angle(scipy.signal.hilbert(u)))
    measured = np.gradient(analytic, DT) / (2 * np.pi)
    s = t / t[-1]
    wanted = start * (stop / start) ** s if is_logarithmic else start + (stop - start) * s
    inside = slice(400, -400)  # the Hilbert transform of a finite record errs at its ends
    assert np.max(np.abs(measured - wanted)[inside] / wanted[inside]) < 0.05


# --------------------------------------------------------------------------------------------------------- binary


def test_random_binary_switches_with_the_stated_probability(key):
    n = 40_000
    u = np.asarray(signals.random_binary(key, 2 * n, np.array([-1.0, 0.0]), 1.0, switch=np.array([0.1, 0.7]), every=2))
    assert set(u[:, 0]) == {-1.0, 1.0} and set(u[:, 1]) == {0.0, 1.0}
    np.testing.assert_array_equal(u[0::2], u[1::2])  # each clock lasts two samples
    clocks = u[::2]
    rate = np.mean(clocks[1:] != clocks[:-1], axis=0)
    assert np.all(np.abs(rate - [0.1, 0.7]) < 4 * np.sqrt(0.25 / n))
    correlation = np.mean(clocks[3:, 0] * clocks[:-3, 0])
    assert abs(correlation - 0.8**3) < 0.05
    starts = jax.vmap(lambda k: signals.random_binary(k, 1, -1.0, 1.0, switch=0.0)[0, 0])(jr.split(key, 400))
    assert abs(np.mean(starts)) < 0.2  # 4 standard deviations


@pytest.mark.parametrize("order", [2, 8, 13])
def test_shift_registers_have_the_full_period(order):
    n = 2**order - 1
    u = np.asarray(signals.prbs(n, -1.0, 1.0, order=order))[:, 0]
    spectrum = np.abs(np.fft.fft(u)) ** 2
    # autocorrelation N at lag 0, -1 elsewhere <=> |U_0|² = 1, |U_k|² = N + 1
    np.testing.assert_allclose(spectrum[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(spectrum[1:], n + 1, rtol=1e-8)


def test_the_feedback_polynomials_are_primitive():
    """`x` has order `2^n - 1` modulo the polynomial, hence every register runs through its full period."""
    for order, taps in enumerate(TAPS, start=2):
        polynomial = 1 | sum(1 << tap for tap in taps)
        n = 2**order - 1
        divisors = [n // q for q in range(2, n + 1) if n % q == 0 and all(q % d for d in range(2, int(q**0.5) + 1))]
        assert max(taps) == order and power_of_x(n, polynomial) == 1
        assert all(power_of_x(d, polynomial) != 1 for d in divisors)


def power_of_x(exponent: int, polynomial: int) -> int:
    """`x^exponent` modulo a polynomial over GF(2); bits are coefficients."""
    result, base = 1, 2
    while exponent:
        result, base = (times(result, base, polynomial) if exponent & 1 else result), times(base, base, polynomial)
        exponent >>= 1
    return result


def times(a: int, b: int, polynomial: int) -> int:
    product, degree = 0, polynomial.bit_length() - 1
    while b:
        product, a, b = product ^ (a if b & 1 else 0), a << 1, b >> 1
        a ^= polynomial if a >> degree else 0
    return product


def test_inputs_of_a_shift_register_are_shifted_copies():
    u = np.asarray(signals.prbs(31, -1.0, np.ones(2), order=5))
    np.testing.assert_array_equal(u[:, 1], np.roll(u[:, 0], -15))
    assert u[:, 0] @ u[:, 1] == -1.0


# ------------------------------------------------------------------------------------------------------ multisine


@pytest.mark.parametrize("name", ["multisine", "schroeder"])
def test_a_multisine_has_equal_power_in_its_band_and_none_outside(name, key):
    first = () if name in KEYLESS else (key,)
    period, band = 400, (0.5, 5.0)  # lines every 0.25 Hz: 2 to 20
    u = np.asarray(getattr(signals, name)(*first, 900, -1.0, np.array([1.0, 3.0]), band=band, dt=DT, period=period))
    np.testing.assert_array_equal(u[:400], u[400:800])
    np.testing.assert_array_equal(u[:100], u[800:])
    np.testing.assert_allclose(np.mean(u[:period], axis=0), [0.0, 1.0], atol=1e-12)  # the middle of the bounds
    spectra = np.abs(np.fft.rfft(u[:period] - np.mean(u[:period], axis=0), axis=0))
    excited = spectra > 1e-9
    if name == "multisine":
        assert np.all(excited.T == ((np.arange(201) >= 2) & (np.arange(201) <= 20)))
    else:  # lines in turn
        assert np.flatnonzero(excited[:, 0]).tolist() == list(range(2, 21, 2))
        assert np.flatnonzero(excited[:, 1]).tolist() == list(range(3, 20, 2))
    for i in range(2):
        lines = spectra[excited[:, i], i]
        np.testing.assert_allclose(lines, lines[0], rtol=1e-9)
    assert np.all(np.isclose(np.max(u, axis=0), [1.0, 3.0]) | np.isclose(np.min(u, axis=0), -1.0))


def test_the_crest_factor_is_low(key):
    crest = lambda u: np.max(np.abs(u)) / np.sqrt(np.mean(u**2))
    options = {"band": (0.5, 5.0), "dt": DT}  # 93 lines
    made = {n: crest(signals.multisine(key, 2048, -1.0, 1.0, **options, iterations=n)) for n in (0, 200)}
    assert made[0] > 2.5 and made[200] < 1.75
    assert crest(signals.schroeder(2048, -1.0, 1.0, **options, iterations=0)) < 2.0  # 1.9 without any reduction
    assert crest(signals.schroeder(2048, -1.0, 1.0, **options)) < 1.6


# --------------------------------------------------------------------------------------------------------- random


def autocorrelation(x: np.ndarray, lag: int) -> float:
    x = x - x.mean()
    return float(np.mean(x[lag:] * x[: x.size - lag]) / np.mean(x**2))


def test_levels_are_held_and_uniform(key):
    u = np.asarray(signals.steps(key, 40_003, -1.0, 3.0, every=4))[:, 0]
    levels = u[::4]
    np.testing.assert_array_equal(np.repeat(levels, 4)[: u.size], u)
    assert scipy.stats.kstest(levels, scipy.stats.uniform(-1, 4).cdf).pvalue > 1e-3
    assert abs(autocorrelation(levels, 1)) < 0.04


def test_a_spline_is_that_of_scipy(key):
    every, time = 8, 97
    u = np.asarray(signals.spline(key, time, -1.0, 2.0, every=every))[:, 0]
    # the control points from the values at 13 knots and two conditions more would be circular: fit them instead
    knots = np.arange(-3, 17)
    s = np.arange(time) / every
    basis = scipy.interpolate.BSpline.design_matrix(s, knots.astype(float), 3).toarray()
    points, *_ = np.linalg.lstsq(basis, u, rcond=None)
    np.testing.assert_allclose(basis @ points, u, atol=1e-12)  # it is one cubic spline on these knots
    assert np.all((points[:15] > -1 - 1e-9) & (points[:15] < 2 + 1e-9))


def test_white_noise_is_truncated_normal(key):
    for sigma in (0.1, 0.5, 20.0):
        u = np.asarray(signals.white_noise(key, 20_000, 0.0, 1.0, sigma=sigma))[:, 0]
        law = scipy.stats.truncnorm(-0.5 / sigma, 0.5 / sigma, 0.5, sigma)
        assert scipy.stats.kstest(u, law.cdf).pvalue > 1e-3
        assert abs(autocorrelation(u, 1)) < 0.03


def test_a_random_walk_has_increments_of_the_stated_size_and_stays_uniform(key):
    u = np.asarray(signals.random_walk(key, 50_000, -1.0, 1.0, step=0.01))[:, 0]
    assert abs(np.std(np.diff(u)) / 0.01 - 1) < 0.02
    ends = jax.jit(jax.vmap(lambda k: signals.random_walk(k, 50, -1.0, 1.0, step=0.3)[-1, 0]))(jr.split(key, 2000))
    assert scipy.stats.kstest(np.asarray(ends), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_an_arma_process_has_the_correlation_of_its_coefficients(key):
    # ARMA(1, 1): γ_0 = (1 + 2 a m + m²)/(1 - a²), ρ_1 = (1 + a m)(a + m)/(1 + 2 a m + m²), ρ_{k+1} = a ρ_k
    a, m = 0.8, 0.5
    u = signals.arma(key, 100_000, -1.0, 1.0, ar=jnp.array([a]), ma=jnp.array([m]), sigma=0.1)[:, 0]
    rho = (1 + a * m) * (a + m) / (1 + 2 * a * m + m**2)
    assert abs(np.std(u) / 0.1 - 1) < 0.03
    for lag in (1, 2, 5):
        assert abs(autocorrelation(np.asarray(u), lag) - rho * a ** (lag - 1)) < 0.03
    # AR(2): Yule-Walker, ρ_1 = a_1/(1 - a_2), ρ_2 = a_1 ρ_1 + a_2
    u = np.asarray(signals.arma(key, 100_000, -1.0, 1.0, ar=jnp.array([1.2, -0.5]), sigma=0.1)[:, 0])
    assert abs(autocorrelation(u, 1) - 0.8) < 0.02 and abs(autocorrelation(u, 2) - 0.46) < 0.02
    # MA(2): ρ_1 = (m_1 + m_1 m_2)/(1 + m_1² + m_2²), nothing beyond lag 2
    u = np.asarray(signals.arma(key, 100_000, -1.0, 1.0, ma=jnp.array([0.5, 0.4]), sigma=0.1)[:, 0])
    assert abs(autocorrelation(u, 1) - 0.7 / 1.41) < 0.02 and abs(autocorrelation(u, 3)) < 0.02


def test_an_arma_process_is_stationary_from_the_first_sample(key):
    one = lambda k: signals.arma(k, 4, -1.0, 1.0, ar=jnp.array([1.5, -0.7]), ma=jnp.array([0.3]), sigma=0.1)[:, 0]
    runs = np.asarray(jax.jit(jax.vmap(one))(jr.split(key, 20_000)))
    assert np.all(np.abs(np.std(runs, axis=0) / 0.1 - 1) < 0.03)
    pairs = [np.corrcoef(runs[:, i], runs[:, i + 1])[0, 1] for i in range(3)]
    assert np.ptp(pairs) < 0.02


def test_beta_levels_follow_the_beta_distribution(key):
    u = np.asarray(signals.beta(key, 30_000, 1.0, 3.0, a=2.0, b=5.0, every=3))[:, 0]
    np.testing.assert_array_equal(u[0::3], u[2::3])
    assert scipy.stats.kstest(u[::3], scipy.stats.beta(2, 5, 1, 2).cdf).pvalue > 1e-3


def test_a_beta_walk_keeps_its_step(key):
    limit = np.array([0.05, 10.0])
    u = np.asarray(signals.beta_walk(key, 20_000, np.zeros(2), 1.0, max_step=limit, stay=np.array([0.25, 0.0])))
    step = np.diff(u, axis=0)
    assert np.all(np.abs(step) <= limit + 1e-15) and np.max(np.abs(step[:, 0])) > 0.045
    assert abs(np.mean(step[:, 0] == 0) - 0.25) < 0.02
    assert np.ptp(u[:, 0]) > 0.95
    free = (u[:-1, 0] > 0.05) & (u[:-1, 0] < 0.95) & (step[:, 0] != 0)
    law = scipy.stats.beta(2, 2, -0.05, 0.1)
    assert scipy.stats.kstest(step[free, 0], law.cdf).pvalue > 1e-3
    # a step beyond the range: independent samples of the beta distribution
    assert scipy.stats.kstest(u[1:, 1], scipy.stats.beta(2, 2).cdf).pvalue > 1e-3


def test_a_beta_autoregression_has_the_stated_correlation_and_variance(key):
    u = np.asarray(jax.jit(partial(signals.beta_autoregression, time=50_000, correlation=0.8))(key, low=2.0, high=4.0))[
        :, 0
    ]
    unit = (u - 2) / 2
    assert abs(np.mean(unit) - 0.5) < 0.02
    assert abs(np.var(unit) * 4 * (1 + 8 * (1 - 0.8**2)) - 1) < 0.05
    for lag in (1, 2, 5):
        assert abs(autocorrelation(unit, lag) - 0.8**lag) < 0.03


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda k: signals.steps(k, 0, 0.0, 1.0, every=1), r"`time`: got 0; expected an integer >= 1"),
        (lambda k: signals.steps(k, 9, 0.0, 1.0, every=0), r"`every`: got 0"),
        (lambda k: signals.steps(k, 9, 2.0, 1.0, every=1), r"`low`: got low \[2.0\] and high \[1.0\]; expected finite"),
        (lambda k: signals.steps(k, 9, 0.0, jnp.inf, every=1), r"`low`: .*expected finite bounds"),
        (lambda k: signals.steps(k, 9, jnp.zeros((2, 1)), 1.0, every=1), r"`low`: got an array of shape \(2, 1\)"),
        (lambda k: signals.steps(k, 9, jnp.zeros(2), jnp.ones(3), every=1), r"`high`: got 3 entries; expected 2 as in"),
        (lambda k: signals.sine(9, 0.0, 1.0, frequency=51.0, dt=0.01), r"`frequency`: got 51.0; .*sample faster"),
        (lambda k: signals.sine(9, 0.0, 1.0, frequency=1.0, dt=0.0), r"`dt`: got 0.0; expected finite numbers > 0"),
        (lambda k: signals.sine(9, 0.0, 1.0, frequency=1.0, dt=0.1, phase=jnp.nan), r"`phase`: got nan"),
        (lambda k: signals.sine(9, 0.0, 1.0, frequency=jnp.ones(2), dt=0.1), r"`frequency`: got an array of shape"),
        (lambda k: signals.square(9, 0.0, 1.0, frequency=1.0, dt=0.1, duty=1.0), r"`duty`: got 1.0; expected"),
        (lambda k: signals.chirp(1, 0.0, 1.0, start=1.0, stop=2.0, dt=0.1), r"`time`: got 1; expected an integer >= 2"),
        (lambda k: signals.chirp(9, 0.0, 1.0, start=1.0, stop=9.0, dt=0.1), r"`stop`: got 9.0; expected frequencies"),
        (lambda k: signals.random_binary(k, 9, 0.0, 1.0, switch=1.5), r"`switch`: got 1.5; expected probabilities"),
        (lambda k: signals.prbs(9, 0.0, 1.0, order=19), r"`order`: got 19; expected an integer from 2 to 18"),
        (lambda k: signals.prbs(9, 0.0, jnp.ones(4), order=2), r"`order`: got 2; expected a period of"),
        (lambda k: signals.multisine(k, 100, 0.0, 1.0, band=(0.01, 0.02), dt=0.1), r"`band`: got 0 lines .* 0.1 apart"),
        (lambda k: signals.multisine(k, 100, 0.0, 1.0, band=(1.0, 6.0), dt=0.1), r"`band`: got \(1.0, 6.0\).* = 5\."),
        (lambda k: signals.multisine(k, 2, 0.0, 1.0, band=(1.0, 2.0), dt=0.1), r"`period`: got 2"),
        (lambda k: signals.multisine(k, 9, 0.0, 1.0, band=(1.0, 2.0), dt=0.1, iterations=-1), r"`iterations`: got -1"),
        (lambda k: signals.schroeder(9, 0.0, jnp.ones(2), band=(1.0, 2.0), dt=0.1), r"`band`: got 1 lines "),
        (lambda k: signals.white_noise(k, 9, 0.0, 1.0, sigma=0.0), r"`sigma`: got 0.0; expected finite numbers > 0"),
        (lambda k: signals.random_walk(k, 9, 0.0, 1.0, step=-1.0), r"`step`: got -1.0"),
        (lambda k: signals.arma(k, 9, 0.0, 1.0, ar=jnp.array([1.0])), r"`ar`: got coefficients with a root of"),
        (lambda k: signals.arma(k, 9, 0.0, 1.0, ma=0.5), r"`ma`: got an array of shape \(\); expected a vector"),
        (lambda k: signals.beta(k, 9, 0.0, 1.0, a=0.0), r"`a`: got 0.0"),
        (lambda k: signals.beta_walk(k, 9, 0.0, 1.0, max_step=0.0), r"`max_step`: got 0.0"),
        (lambda k: signals.beta_walk(k, 9, 0.0, 1.0, max_step=1.0, stay=2.0), r"`stay`: got 2.0"),
        (lambda k: signals.beta_autoregression(k, 9, 0.0, 1.0, correlation=1.0), r"`correlation`: got 1.0; expected"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, match, key):
    with pytest.raises(ValueError, match=match):
        call(key)


def test_a_key_is_asked_for(unchecked):
    for name in sorted(set(SIGNALS) - KEYLESS):
        with pytest.raises(TypeError, match=r"`key`: got 0; expected one key of `jax.random`"):
            getattr(signals, name)(0, 9, 0.0, 1.0, **SIGNALS[name])
