"""Every source: pure, traced once for all steps, an epoch holds every instance once."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from sciml.sources import AbstractSource, Fixed, Minibatches, Sampled, Uniform, Windows


class P(NamedTuple):
    a: Array
    b: Array


def data(n: int) -> P:
    return P(jnp.arange(1.0 * n), jnp.arange(2.0 * n).reshape(n, 2))


def scenario(key) -> P:
    return P(jr.normal(key), jr.uniform(key, (2,)))


@eqx.filter_jit
def indices(source: AbstractSource, steps, key):
    """The instances of several steps, one row for each."""
    return jax.lax.map(lambda step: source.batch(step, key=key).index, jnp.asarray(steps))


SOURCES = {
    "Fixed": lambda: Fixed(data(6)),
    "Minibatches": lambda: Minibatches(data(6), 4),
    "Sampled": lambda: Sampled(scenario, 4),
    "Uniform": lambda: Uniform(P(0.0, jnp.zeros(2)), P(1.0, jnp.ones(2)), 4),
    "Windows": lambda: Windows(data(12), length=4, stride=1, size=4),
}


def test_the_registry_is_complete():
    assert set(SOURCES) == {cls.__name__ for cls in AbstractSource.__subclasses__()}


@pytest.mark.parametrize("name", SOURCES)
def test_a_batch_is_pure_and_traced_once_and_scans(key, name):
    source = SOURCES[name]()
    traces = 0

    @eqx.filter_jit
    def draw(source, step, key):
        nonlocal traces
        traces += 1
        return source.batch(step, key=key)

    batches = [draw(source, jnp.asarray(step), key) for step in (0, 1, 2, 0)]
    draw(source, jnp.asarray(2), jr.fold_in(key, 1))
    assert traces == 1
    first, second, third, again = ([np.asarray(leaf) for leaf in jax.tree.leaves(batch)] for batch in batches)
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    if name != "Fixed":
        assert not all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))
    assert isinstance(batches[0].value, P)
    assert {leaf.shape[0] for leaf in first} == {batches[0].index.shape[0]}
    scan = eqx.filter_jit(lambda s: jax.lax.scan(lambda _, step: (None, s.batch(step, key=key)), None, jnp.arange(3)))
    inside = jax.tree.leaves(scan(source)[1])  # a scan sees the same bits
    assert all(np.array_equal(np.asarray(x)[2], y) for x, y in zip(inside, third, strict=True))


def test_fixed_is_everything_in_order(key):
    batch = Fixed(data(6)).batch(3, key=key)
    assert Fixed(data(6)).count == 6
    np.testing.assert_array_equal(batch.index, np.arange(6))
    np.testing.assert_array_equal(batch.value.b, data(6).b)


@pytest.mark.parametrize(("count", "size"), [(12, 4), (10, 4), (7, 3), (6, 1)])
def test_every_epoch_is_another_permutation(key, count, size):
    source = Minibatches(data(count), size)
    assert source.count == count
    steps = 3 * count
    batches = eqx.filter_jit(lambda s: jax.lax.map(lambda step: s.batch(step, key=key), jnp.arange(steps)))(source)
    index = np.asarray(batches.index)
    epochs = index.reshape(-1, count)  # 3 count steps are 3 size epochs
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(count), (3 * size, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 1
    np.testing.assert_array_equal(batches.value.a, index)
    np.testing.assert_array_equal(batches.value.b[..., 0], 2 * index)


@pytest.mark.parametrize("count", [5, 16, 23])
def test_permutations_are_uniform(key, count):
    epochs = 4000
    orders = np.asarray(indices(Minibatches(np.arange(count), count), np.arange(epochs), key))
    # Chi-square of where each instance stands, and of who follows whom: (count - 1)^2 and about count^2 degrees of
    # freedom, each with standard deviation sqrt(2 count^2); five of them.
    place = np.stack([np.bincount(column, minlength=count) for column in orders.T])
    chi = np.sum((place - epochs / count) ** 2) / (epochs / count)
    assert abs(chi - (count - 1) ** 2) < 5 * np.sqrt(2) * count
    pairs = np.zeros((count, count))
    np.add.at(pairs, (orders[:, 0], orders[:, 1]), 1)
    off, expected = ~np.eye(count, dtype=bool), epochs / (count * (count - 1))
    chi = np.sum((pairs[off] - expected) ** 2) / expected
    assert abs(chi - (count * (count - 1) - 1)) < 5 * np.sqrt(2) * count


def test_late_steps_do_not_overflow(key):
    steps = np.arange(2**31 - 11, 2**31 - 1, dtype=np.int32)
    late = np.asarray(indices(Minibatches(np.arange(1000), 300), steps, key)).ravel()  # 3 epochs lie in 10 steps
    assert late.min() >= 0 and late.max() < 1000
    start = (2**31 - 11) * 300 % 1000
    whole = late[1000 - start : 2000 - start]
    np.testing.assert_array_equal(np.sort(whole), np.arange(1000))


def test_another_key_gives_another_order(key):
    source = Minibatches(jnp.arange(20), 20)
    assert not np.array_equal(indices(source, [0], key), indices(source, [0], jr.fold_in(key, 1)))


def test_sampled_draws_one_instance_per_key(key):
    source = Sampled(scenario, 3)
    assert source.count is None
    batch = eqx.filter_jit(lambda s: s.batch(5, key=key))(source)
    np.testing.assert_array_equal(batch.index, [-1, -1, -1])
    one = jax.jit(scenario)
    expected = [one(k) for k in jr.split(jr.fold_in(key, 5), 3)]
    np.testing.assert_allclose(batch.value.b, np.stack([p.b for p in expected]), rtol=1e-15)
    assert source.draw(7, key=key).b.shape == (7, 2)


def test_uniform_fills_its_box(key):
    source = Uniform(P(-1.0, jnp.array([0.0, 5.0])), P(2.0, jnp.array([1.0, 5.0])), 3)
    assert source.count is None
    p = P(*map(np.asarray, source.draw(2000, key=key)))
    assert p.a.shape == (2000,) and p.b.shape == (2000, 2)
    assert np.all((p.a >= -1) & (p.a < 2)) and np.all(p.b[:, 1] == 5)
    # Four standard errors of the mean and of the variance of a uniform law.
    assert abs(p.a.mean() - 0.5) < 4 * 3 / np.sqrt(12 * 2000)
    assert abs(p.a.var() - 9 / 12) < 4 * 9 / np.sqrt(180 * 2000)
    assert abs(np.corrcoef(p.a, p.b[:, 0])[0, 1]) < 4 / np.sqrt(2000)
    np.testing.assert_array_equal(source.batch(0, key=key).index, [-1, -1, -1])


def test_uniform_keeps_float32_and_promotes_integers(key):
    single = jnp.zeros(2, jnp.float32)
    assert Uniform(single, single + 1, 3).draw(2, key=key).dtype == jnp.float32
    assert Uniform(0, 1, 3).draw(2, key=key).dtype == jnp.float64


@pytest.mark.parametrize(("length", "stride", "starts"), [(4, None, (0, 4)), (4, 2, (0, 2, 4, 6)), (3, 5, (0, 5))])
def test_windows_are_cut_in_order(key, length, stride, starts):
    source = Windows(data(11), length=length, stride=stride, size=2)
    assert source.count == len(starts)
    windows = eqx.filter_jit(lambda s: s.all())(source)
    np.testing.assert_array_equal(windows.a, np.stack([np.arange(s, s + length) for s in starts]))
    assert windows.b.shape == (len(starts), length, 2)
    batch = eqx.filter_jit(lambda s: s.batch(1, key=key))(source)
    np.testing.assert_array_equal(batch.value.b, np.asarray(windows.b)[batch.index])


def test_windows_of_several_series_never_cross_them(key):
    runs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 100]), data(5))
    source = Windows(runs, length=2, stride=1, size=3, is_stacked=True)
    assert source.count == 8
    np.testing.assert_array_equal(source.all().a[:, 0], [0, 1, 2, 3, 100, 101, 102, 103])
    seen = np.asarray(indices(source, np.arange(8), key))
    np.testing.assert_array_equal(np.sort(seen.reshape(3, 8), axis=1), np.tile(np.arange(8), (3, 1)))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Fixed(()), r"`data`: got no array; expected at least one"),
        (lambda: Minibatches(data(3), 4), r"`size`: got 4; expected 1 <= size <= 3, the number.*use `Fixed`"),
        (lambda: Minibatches(data(3), 0), r"`size`: got 0; expected 1 <= size <= 3"),
        (
            lambda: Minibatches(np.zeros(100_003, bool), 32_000),
            r"`size`: got 32000 for 100003 instances; expected a least common multiple below 2\^31",
        ),
        (lambda: Sampled(scenario, 0), r"`size`: got 0; expected an integer >= 1"),
        (lambda: Sampled(scenario, 1).draw(0, key=jr.key(0)), r"`n`: got 0; expected an integer >= 1"),
        (lambda: Uniform(0.0, 1.0, 0), r"`size`: got 0; expected an integer >= 1"),
        (lambda: Uniform(0.0, 1.0, 1).draw(0, key=jr.key(0)), r"`n`: got 0; expected an integer >= 1"),
        (lambda: Uniform(P(0.0, 0.0), (1.0, 1.0), 1), r"`high`: got .*; expected .* as in `low`"),
        (lambda: Uniform(P(0.0, 1.0), P(1.0, 0.0), 1), r"`low\.b`: got low 1.0 and high 0.0; expected low <= high"),
        (lambda: Uniform(0.0, jnp.inf, 1), r"`low`: got low 0.0 and high inf; expected finite bounds.*use `Sampled`"),
        (lambda: Uniform(0.0, jnp.ones(2), 1), r"`high`: got float64 of shape \(2,\); expected float64 of shape \(\)"),
        (lambda: Uniform("a", 1.0, 1), r"`low`: got a str; expected a number or an array"),
        (lambda: Windows(data(5), length=6, size=1), r"`length`: got 6; expected at most 5, the samples of a series"),
        (lambda: Windows(data(5), length=0, size=1), r"`length`: got 0; expected an integer >= 1"),
        (lambda: Windows(data(5), length=2, stride=0, size=1), r"`stride`: got 0; expected an integer >= 1"),
        (lambda: Windows(data(5), length=2, size=3), r"`size`: got 3; expected 1 <= size <= 2"),
        (
            lambda: Windows(data(5), length=2, size=1, is_stacked=True),
            r"`data`: got a leaf with one axis; expected leaves \(run, time, ...\)",
        ),
    ],
)
def test_bad_arguments_are_named(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_bounds_may_be_traced(key):
    draw = jax.jit(lambda low: Uniform(low, low + 1, 2).draw(3, key=key))
    assert jnp.all(draw(jnp.array(4.0)) >= 4)
