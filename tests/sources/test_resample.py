"""Even grids, against the signal that was sampled unevenly."""

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.sources import record, resample, stack

RNG = np.random.default_rng(0)
T = np.cumsum(1.0 + 0.05 * RNG.uniform(-1, 1, 100)) + 5.0 * (np.arange(100) >= 60)  # with a gap


def test_uneven_times_are_resampled():
    even = resample(record(np.sin(0.1 * T), np.cos(0.1 * T), t=T))
    assert np.ptp(np.diff(np.asarray(even.t))) < 1e-9
    grid, keep = np.asarray(even.t), np.asarray(even.is_measured[:, 0])
    np.testing.assert_allclose(np.asarray(even.y)[keep, 0], np.sin(0.1 * grid[keep]), atol=5e-3)
    last = np.searchsorted(T, grid + 1e-9, side="right") - 1
    np.testing.assert_array_equal(even.u[:, 0], np.cos(0.1 * T[np.maximum(last, 0)]))  # held, as it acts
    assert 4 <= int(np.sum(~keep)) <= 6  # nothing is invented inside the gap


def test_missing_samples_whose_rows_are_there_stay_missing():
    t = np.cumsum(1.0 + 0.05 * RNG.uniform(-1, 1, 100))
    y = np.stack([np.sin(0.1 * t), np.cos(0.1 * t)], axis=1)
    y[40:60, 0] = np.nan
    even = resample(record(y, (t > 30.0).astype(float), t=t))
    missing = np.sum(~np.asarray(even.is_measured), axis=0)
    assert 18 <= missing[0] <= 20 and missing[1] == 0
    assert set(np.unique(even.u).tolist()) == {0.0, 1.0}  # a step stays a step
    only = resample(record(np.where(np.arange(100) == 50, 1.0, np.nan), t=t))
    assert 1 <= int(np.sum(only.is_measured)) <= 2


def test_missing_samples_stay_out_of_the_interpolation():
    y = np.where(np.arange(100) == 30, np.nan, 2 * T)
    even = resample(record(y, t=T), dt=2.0)
    keep = np.asarray(even.is_measured[:, 0])
    assert even.u is None and float(even.t[1] - even.t[0]) == pytest.approx(2.0)
    np.testing.assert_allclose(np.asarray(even.y)[keep, 0], 2 * np.asarray(even.t)[keep], rtol=1e-12)


def test_even_times_are_left_alone():
    data = record(jnp.arange(9.0), t=0.1 * jnp.arange(9.0) + 1e-6)
    assert resample(data) is data


@pytest.mark.parametrize(
    "data, dt, match",
    [
        (stack([record(jnp.ones(4), dt=1.0)]), None, "`data`: got several records"),
        (record(jnp.ones(4), dt=1.0), 0.0, "`dt`: got 0.0; expected 0 < dt <= 3"),
        (record(jnp.ones(4), dt=1.0), 4.0, "`dt`: got 4.0"),
    ],
)
def test_bad_arguments_are_named(data, dt, match):
    with pytest.raises(ValueError, match=match):
        resample(data, dt=dt)
