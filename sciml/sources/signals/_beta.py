"""Signals from the beta distribution: independent levels, a walk with limited steps, a process with memory."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key

from .._checks import at_least
from ._bounds import between, clock, count, each, interval, positive


def beta(
    key: PRNGKeyArray,
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    a: ArrayLike = 2.0,
    b: ArrayLike = 2.0,
    every: int = 1,
) -> Float[Array, "time input"]:
    """`low + (high - low) Beta(a, b)`: independent levels, each held for `every` samples.

    Choose it to weight the range: `a = b > 1` prefers the middle, `a = b < 1` the ends, `a > b` the upper part.
    `steps` is the case `a = b = 1`.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        a: first shape parameter, a number or one for each input, > 0.
        b: second shape parameter, likewise.
        every: samples per level, >= 1.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `every < 1`, `a <= 0`, `b <= 0`, or bounds that are infinite, crossed, or of different
            lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.beta(jax.random.key(0), 10_000, 0.0, 2.0, a=2.0, b=6.0)
        assert abs(u.mean() - 0.5) < 0.02
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    at_least("every", every, 1)
    lower, upper = interval(low, high)
    shapes = _shapes(a, b, lower)
    levels = _beta(key, *shapes, count(time, every))
    return between(levels[clock(time, every)], lower, upper)


def beta_walk(
    key: PRNGKeyArray,
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    max_step: ArrayLike,
    a: ArrayLike = 2.0,
    b: ArrayLike = 2.0,
    stay: ArrayLike = 0.0,
) -> Float[Array, "time input"]:
    """A walk with limited increments: `u_{k+1} = l + (h - l) Beta(a, b)`, `[l, h] = [low, high] ∩ [u_k ± max_step]`.

    Choose it for actuators with a limited rate. `a = b` gives as many steps up as down away from the bounds; `a > b`
    climbs. It starts uniformly.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        max_step: largest increment between samples, in the unit of the signal, a number or one for each input, > 0.
        a: first shape parameter of the increments, a number or one for each input, > 0.
        b: second shape parameter, likewise.
        stay: probability of no increment at a sample, a number or one for each input, in [0, 1].

    Returns:
        `time` samples of each input; increments exceed `max_step` by rounding at most.

    Raises:
        ValueError: `time < 1`, `max_step <= 0`, `a <= 0`, `b <= 0`, `stay` outside [0, 1], or bounds that are infinite,
            crossed, or of different lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.beta_walk(jax.random.key(0), 500, 0.0, 1.0, max_step=0.05)
        assert abs(jnp.diff(u, axis=0)).max() < 0.0501
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    lower, upper = interval(low, high)
    limit = positive("max_step", max_step, lower, "give the largest increment between two samples")
    chance = each("stay", stay, lower, lambda p: (p >= 0) & (p <= 1), "probabilities in [0, 1]", "0 always moves")
    here, there, whether = jr.split(key, 3)
    draws = _beta(there, *_shapes(a, b, lower), time - 1)
    is_still = jr.bernoulli(whether, jnp.broadcast_to(chance, draws.shape))

    def walk(u: Array, drawn: tuple[Array, Array]) -> tuple[Array, Array]:
        least, most = jnp.maximum(lower, u - limit), jnp.minimum(upper, u + limit)
        u = jnp.where(drawn[1], u, jnp.clip(least + (most - least) * drawn[0], least, most))
        return u, u

    start = between(jr.uniform(here, (1, lower.size), lower.dtype), lower, upper)
    return jnp.concatenate([start, jax.lax.scan(walk, start[0], (draws, is_still))[1]])


def beta_autoregression(
    key: PRNGKeyArray,
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    correlation: ArrayLike,
    concentration: ArrayLike = 8.0,
) -> Float[Array, "time input"]:
    """A stationary process in the bounds with autocorrelation `correlation^lag`: the next value is beta about a mean.

    In units of the range, `u_{k+1} ~ Beta(c m, c (1 - m))` with `m = 1/2 + r (u_k - 1/2)`, `r` the correlation and `c`
    the concentration. Mean 1/2 and variance `1/(4 (1 + c (1 - r²)))` are constant in time. Choose it for exogenous
    quantities with memory and hard limits, such as clouds or occupancy.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        correlation: autocorrelation at lag one, a number or one for each input, in [0, 1).
        concentration: inverse spread of a sample about its mean, likewise, > 0; large values make small steps.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, `correlation` outside [0, 1), `concentration <= 0`, or bounds that are infinite,
            crossed, or of different lengths.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.beta_autoregression(jax.random.key(0), 500, 0.0, 1.0, correlation=0.9)
        assert u.min() >= 0.0 and u.max() <= 1.0
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    lower, upper = interval(low, high)
    fix = "give the autocorrelation at lag one"
    r = each("correlation", correlation, lower, lambda x: (x >= 0) & (x < 1), "numbers in [0, 1)", fix)
    c = positive("concentration", concentration, lower, "8 is a good start")

    # With E[u'|u] = 1/2 + r (u - 1/2) and Var[u'|u] = m (1 - m)/(c + 1), the stationary variance is
    # v = (1/4 - r² v)/(c + 1) + r² v = 1/(4 (1 + c (1 - r²))), that of Beta(s, s) with s = c (1 - r²)/2: the start.
    def advance(u: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        m = 0.5 + r * (u - 0.5)
        u = _beta(key, c * m, c * (1 - m), 1)[0]
        return u, u

    here, there = jr.split(key)
    s = c * (1 - r**2) / 2
    start = _beta(here, s, s, 1)
    units = jax.lax.scan(advance, start[0], jr.split(there, time - 1))[1]
    return between(jnp.concatenate([start, units]), lower, upper)


def _shapes(a: ArrayLike, b: ArrayLike, like: Float[Array, " input"]) -> tuple[Array, Array]:
    fix = "2 prefers the middle, 1 is uniform"
    return positive("a", a, like, fix), positive("b", b, like, fix)


def _beta(
    key: PRNGKeyArray, a: Float[Array, " input"], b: Float[Array, " input"], time: int
) -> Float[Array, "time input"]:
    """Samples `X/(X + Y)` of Beta(a, b) with `X ~ Gamma(a)`, `Y ~ Gamma(b)`; one call, to compile one loop."""
    logs = jr.loggamma(key, jnp.stack([a, b])[:, None], (2, time, a.size), a.dtype)
    return jax.nn.sigmoid(logs[0] - logs[1])
