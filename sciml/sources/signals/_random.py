"""Random levels, smooth curves, white noise and random walks."""

import jax.numpy as jnp
import jax.random as jr
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key

from .._checks import at_least
from ._bounds import between, clock, count, interval, positive


def steps(key: PRNGKeyArray, time: int, low: ArrayLike, high: ArrayLike, *, every: int) -> Float[Array, "time input"]:
    """Independent levels, uniform on [low, high], each held for `every` samples.

    Choose it as the standard excitation of nonlinear models: it visits all levels, and shows static gains where `every`
    covers the settling time.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        every: samples per level, >= 1.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `every < 1`, or bounds that are infinite, crossed, or of different lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        signals = sciml.sources.signals
        u = signals.steps(jax.random.key(0), 100, jnp.array([0.0, -1.0]), 1.0, every=25)
        assert u.shape == (100, 2) and jnp.all(u[:25] == u[0])
        keys = jax.random.split(jax.random.key(0), 8)
        many = jax.vmap(lambda key: signals.steps(key, 100, -1.0, 1.0, every=25))(keys)
        assert many.shape == (8, 100, 1)
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    at_least("every", every, 1)
    lower, upper = interval(low, high)
    levels = jr.uniform(key, (count(time, every), lower.size), lower.dtype)
    return between(levels[clock(time, every)], lower, upper)


def spline(key: PRNGKeyArray, time: int, low: ArrayLike, high: ArrayLike, *, every: int) -> Float[Array, "time input"]:
    """A smooth random curve: the cubic B-spline of control points uniform on [low, high], `every` samples apart.

    It has two continuous derivatives, and lies in the bounds because a B-spline is a weighted mean of its control
    points; its standard deviation is about 0.7 times that of uniform values. Choose it for inputs that cannot jump.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        every: samples between control points, >= 1.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `every < 1`, or bounds that are infinite, crossed, or of different lengths.
        TypeError: `key` is none.

    Source: C. de Boor (1978), *A Practical Guide to Splines*, chapter IX.

    Examples:
        ```python
        u = sciml.sources.signals.spline(jax.random.key(0), 200, 0.0, 1.0, every=20)
        assert u.min() >= 0.0 and abs(jnp.diff(u, axis=0)).max() < 0.1
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    at_least("every", every, 1)
    lower, upper = interval(low, high)
    points = jr.uniform(key, (count(time, every) + 3, lower.size), lower.dtype)
    first = clock(time, every)
    s = ((jnp.arange(time) % every).astype(lower.dtype) / every)[:, None]
    weights = ((1 - s) ** 3, 3 * s**3 - 6 * s**2 + 4, -3 * s**3 + 3 * s**2 + 3 * s + 1, s**3)
    parts = [weight * points[first + i] for i, weight in enumerate(weights)]
    return between((parts[0] + parts[1] + parts[2] + parts[3]) / 6, lower, upper)


def white_noise(
    key: PRNGKeyArray, time: int, low: ArrayLike, high: ArrayLike, *, sigma: ArrayLike
) -> Float[Array, "time input"]:
    """Independent normal samples about the middle of the bounds, of standard deviation `sigma`, truncated there.

    Choose it to excite all frequencies evenly. The distribution is the truncated normal one: for `sigma` well below
    `high - low` the standard deviation is `sigma`, for a large one the samples become uniform. For a coloured spectrum,
    choose `arma`.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        sigma: standard deviation before truncation, in the unit of the signal, a number or one for each input, > 0.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `sigma <= 0`, or bounds that are infinite, crossed, or of different lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.white_noise(jax.random.key(0), 10_000, -1.0, 1.0, sigma=0.1)
        assert 0.095 < u.std() < 0.105
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    lower, upper = interval(low, high)
    scale = positive("sigma", sigma, lower, "give the standard deviation in the unit of the signal")
    half = (upper - lower) / (2 * scale)
    shape = (time, lower.size)
    z = jr.truncated_normal(key, -half, half, shape, lower.dtype)
    return jnp.clip((lower + upper) / 2 + scale * z, lower, upper)


def random_walk(
    key: PRNGKeyArray, time: int, low: ArrayLike, high: ArrayLike, *, step: ArrayLike
) -> Float[Array, "time input"]:
    """A Gaussian random walk with increments of standard deviation `step`, reflected at `low` and `high`.

    It starts uniformly and stays uniform at all times, since reflection preserves that distribution. Choose it for slow
    drifts through a whole range; for steps with a hard limit, `beta_walk`.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        step: standard deviation of an increment, in the unit of the signal, a number or one for each input, > 0.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `step <= 0`, or bounds that are infinite, crossed, or of different lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.random_walk(jax.random.key(0), 1000, 0.0, 1.0, step=0.02)
        assert u.min() >= 0.0 and u.max() <= 1.0
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    lower, upper = interval(low, high)
    scale = positive("step", step, lower, "give the standard deviation of one increment")
    width = upper - lower
    here, there = jr.split(key)
    start = jr.uniform(here, (1, lower.size), lower.dtype) * width
    free = jnp.cumsum(jnp.concatenate([start, scale * jr.normal(there, (time - 1, lower.size), lower.dtype)]), axis=0)
    # a walk between mirrors is the free walk, folded: its distance to the nearest even multiple of the width
    safe = jnp.where(width > 0, width, 1)
    folded = jnp.abs(free - 2 * safe * jnp.round(free / (2 * safe)))
    return jnp.clip(lower + folded, lower, upper)
