"""Records: one door with checks, stacking of ragged ones, windows, splits along time, scaling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import RESULTS, Trajectory
from sciml.sources import cut, record, recorded, scale_records, split, split_time, stack, unstack

NAN = float("nan")


def ragged():
    rng = np.random.default_rng(0)
    parts = []
    for n in (5, 9, 12):
        y = rng.normal(size=(n, 2)) * np.array([1.0, 1e6])
        y[2, 0] = NAN
        parts.append(record(y, rng.normal(size=n), t=np.cumsum(rng.uniform(0.1, 0.5, n))))
    return parts


def same(a, b):
    return all(bool(jnp.array_equal(x, y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_missing_samples_are_masked():
    one = record([1.0, NAN, 3.0], dt=0.5)
    assert one.u is None and one.t.tolist() == [0.0, 0.5, 1.0]
    assert one.is_measured[:, 0].tolist() == [True, False, True] and one.y[1, 0] == 0.0


def test_unstack_is_the_inverse_of_stack():
    parts = ragged()
    data = stack(parts)
    assert data.y.shape == (3, 12, 2) and data.length.tolist() == [5, 9, 12]
    # The padding stands still and does not count.
    assert bool(jnp.all(data.t[0, 4:] == data.t[0, 4])) and not bool(jnp.any(data.is_measured[0, 5:]))
    assert data.is_sample.sum(axis=1).tolist() == [5, 9, 12]
    assert all(same(a, b) for a, b in zip(unstack(data), parts, strict=True))
    assert same(stack([data, parts[0]]), stack([*parts, parts[0]]))


def test_windows_share_their_ends_and_stay_inside_a_record():
    data = stack(ragged())
    windows = cut(data, length=4)
    # 5 samples hold one window of 4, 9 hold two (0-3, 3-6), 12 hold three.
    assert windows.y.shape == (6, 4, 2)
    assert windows.t[1, 3] == windows.t[2, 0] == data.t[1, 3]


def test_splits_along_time_and_by_record():
    data = stack(ragged())
    first, last = split_time(data, (0.6, 0.4))
    assert first.length.tolist() == [3, 5, 7] and last.length.tolist() == [2, 4, 5]
    assert last.t[0, 0] == data.t[0, 3]
    some, others = split(data, (2 / 3, 1 / 3))
    assert some.t.shape[0] == 2 and same(others, jax.tree.map(lambda leaf: leaf[2:], data))
    alone, _ = split_time(ragged()[2], (0.5, 0.5))
    assert alone.t.shape == (6,)


def test_scaling_ignores_padding_and_missing_samples():
    parts = ragged()
    data = stack(parts)
    scaling = scale_records(data)
    y = np.concatenate([np.where(p.is_measured, p.y, np.nan) for p in parts])
    u = np.concatenate([p.u for p in parts])
    np.testing.assert_allclose(scaling.y.mean, np.nanmean(y, axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.y.scale, np.nanstd(y, axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.u.scale, np.std(u, axis=0), rtol=1e-12)
    back = scaling.invert(scaling.apply(data))
    np.testing.assert_allclose(back.y, data.y, rtol=1e-9)  # 1e6 times 1e-16, relative to samples near zero
    np.testing.assert_allclose(back.u, data.u, rtol=1e-12)
    constant = scale_records(record(np.full(7, 0.1), dt=1.0))
    assert constant.y.scale[0] == 1.0


def test_scaling_without_centring_only_divides():
    data = stack(ragged())
    scaling, size = scale_records(data, center=False), lambda x: np.sqrt(np.nanmean(x**2, axis=0))
    y = np.concatenate([np.where(p.is_measured, p.y, np.nan) for p in ragged()])
    np.testing.assert_array_equal(scaling.y.mean, 0.0)
    np.testing.assert_allclose(scaling.y.scale, size(y), rtol=1e-12)
    np.testing.assert_allclose(scaling.u.scale, size(np.concatenate([p.u for p in ragged()])), rtol=1e-12)
    none = scale_records(record(np.zeros(7), dt=1.0), center=False)
    assert none.y.scale[0] == 1.0


def test_the_record_of_a_batch_of_runs_ends_at_a_failure():
    t = jnp.tile(jnp.arange(4.0), (2, 1))
    run = jax.vmap(lambda t, lost: Trajectory(t, None, jnp.ones((3, 1)), jnp.ones((4, 1)), RESULTS.successful, lost))(
        t, jnp.array([0, 2])
    )
    data = recorded(run)
    assert data.length.tolist() == [4, 2] and data.u.shape == (2, 4, 1)
    assert data.t[1].tolist() == [0.0, 1.0, 1.0, 1.0] and data.is_measured[1, :, 0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(y=[1.0], dt=1.0), "`y`: got 1 samples.*at least two"),
        (dict(y=[[["a"]]], dt=1.0), "`y`: got something that is no number"),
        (dict(y=np.zeros((3, 2, 1)), dt=1.0), r"`y`: got shape \(3, 2, 1\)"),
        (dict(y=[1.0, np.inf], dt=1.0), r"infinite entry at y\[1, 0\]"),
        (dict(y=[NAN, NAN], dt=1.0), "no number in channel 0"),
        (dict(y=[1.0, 2.0], u=[1.0], dt=1.0), "`u`: got 1 samples"),
        (dict(y=[1.0, 2.0], u=[1.0, NAN], dt=1.0), r"`u`: got 1 entries.*u\[1, 0\].*fill gaps"),
        (dict(y=[1.0, 2.0]), "`t, dt`: got neither"),
        (dict(y=[1.0, 2.0], dt=0.0), "`dt`: got 0.0"),
        (dict(y=[1.0, 2.0], t=[0.0]), r"`t`: got shape \(1,\)"),
        (dict(y=[1.0, 2.0, 3.0], t=[0.0, 1.0, 1.0]), r"t\[1\] = 1, t\[2\] = 1.*strictly increasing.*drop or average"),
        (dict(y=[1.0, 2.0, 3.0], t=[0.0, 2.0, 1.0]), r"t\[1\] = 2, t\[2\] = 1"),
    ],
)
def test_bad_records_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        record(**arguments)


def test_other_mistakes_are_named():
    data = stack(ragged())
    with pytest.raises(ValueError, match="`records`: got none"):
        stack([])
    with pytest.raises(ValueError, match="the same channels in each"):
        stack([data, record([1.0, 2.0], dt=1.0)])
    with pytest.raises(ValueError, match="`length`: got 13.*at most 12"):
        cut(data, length=13)
    with pytest.raises(ValueError, match="length >= 2 and stride >= 1"):
        cut(data, length=1)
    with pytest.raises(ValueError, match="positive shares with sum 1"):
        split_time(data, (0.5, 0.6))
    with pytest.raises(ValueError, match="a part of 0 samples of a record of 5"):
        split_time(data, (0.95, 0.05))
    run = Trajectory(jnp.arange(2.0), None, None, {"a": jnp.ones(2)}, RESULTS.successful, jnp.array(0))
    with pytest.raises(ValueError, match="outputs or inputs that are no arrays"):
        recorded(run)
