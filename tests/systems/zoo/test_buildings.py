"""The single-zone building against its file, and its disturbances, recorded and synthetic."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.io

from sciml.systems import zoo


@pytest.fixture(scope="module")
def record_path(data_dir):
    path = data_dir / "building_single_zone" / "SimpleSingleZone.mat"
    if not path.is_file():
        pytest.skip(f"no recorded building: there is no {path}")
    return path


def test_matrices_are_those_of_the_file(record_path):
    file, system = scipy.io.loadmat(record_path), zoo.single_zone()
    np.testing.assert_array_equal(system.A, file["Ad"])
    np.testing.assert_array_equal(system.B, np.hstack([file["Bd"], file["Ed"]]))
    np.testing.assert_array_equal(system.C, file["Cd"])
    assert float(system.dt) == file["Ts"].item() and not file["Gd"].any() and not file["Fd"].any()


def test_record_is_read_and_heats_the_building(record_path):
    record = zoo.single_zone_record(record_path)
    assert record.shape == (8929, 3)
    np.testing.assert_allclose(record.max(axis=0), [23.559, 500.0, 1235.691], atol=1e-3)
    np.testing.assert_allclose(record.mean(axis=0), [11.523, 154.553, 314.492], atol=1e-3)
    system = zoo.single_zone()
    us = jnp.concatenate([jnp.zeros((len(record), 1)), jnp.asarray(record)], axis=1)
    xs = jax.lax.scan(lambda x, u: (system.step(0.0, x, u),) * 2, jnp.full(4, 20.0), us)[1]
    assert np.all((xs > 0) & (xs < 40))


def test_weather_looks_like_the_record(record_path):
    record = zoo.single_zone_record(record_path)
    made = np.asarray(jax.vmap(lambda key: zoo.single_zone_weather(key, steps=8928))(jr.split(jr.key(0), 20)))
    np.testing.assert_array_equal(made[0, :8928, 1], record[:8928, 1])  # the schedule is the record's
    assert np.all((made[..., 0] > -2) & (made[..., 0] < 25)) and made[..., 2].min() == 0
    # Means over 20 months: that of the record is one draw, and clouds are cruder here.
    np.testing.assert_allclose(made.mean(axis=(0, 1)), record.mean(axis=0), rtol=0.1)
    assert 0.5 < made[..., 0].std() / record[:, 0].std() < 1.5 and 900 < made[..., 2].max() <= 1200


def test_weather_needs_no_record_and_follows_the_clock():
    made = zoo.single_zone_weather(jr.key(0), steps=7 * 24, dt=3600.0).reshape(7, 24, 3)
    assert made.shape == (7, 24, 3) and np.all(made[:5, 8:18, 1] == 500) and not made[:5, :8, 1].any()
    assert not made[5:, :, 1].any() and not made[:, :5, 2].any() and np.all(made[:, 12, 2] > 250)


@pytest.mark.parametrize("steps, dt", [(0, 300.0), (10, 0.0), (10, float("nan"))])
def test_weather_has_samples(steps, dt):
    with pytest.raises(ValueError, match="steps >= 1 and dt > 0"):
        zoo.single_zone_weather(jr.key(0), steps=steps, dt=dt)


def test_what_is_no_record_is_said(tmp_path):
    with pytest.raises(ValueError, match="use `single_zone_weather"):
        zoo.single_zone_record(tmp_path / "nowhere.mat")
    text = tmp_path / "text.mat"
    text.write_text("ambient, gains, solar\n" * 20, encoding="utf-8")
    with pytest.raises(ValueError, match="expected a MATLAB v5 file"):
        zoo.single_zone_record(text)
    for name, matrix in {"other": np.ones((3, 3)), "disturb": np.ones((3, 2))}.items():
        scipy.io.savemat(tmp_path / "wrong.mat", {name: matrix})
        with pytest.raises(ValueError, match="3 finite columns"):
            zoo.single_zone_record(tmp_path / "wrong.mat")
