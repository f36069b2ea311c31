"""Random binary signals, and the pseudo-random ones of a shift register."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from .._checks import at_least
from ._bounds import clock, count, each, interval, pick

# Feedback taps of shift registers of maximum period, for registers of 2, 3, ... bits: primitive polynomials over GF(2).
TAPS = (
    (2, 1), (3, 2), (4, 3), (5, 3), (6, 5), (7, 6), (8, 6, 5, 4), (9, 5), (10, 7), (11, 9), (12, 6, 4, 1),
    (13, 4, 3, 1), (14, 5, 3, 1), (15, 14), (16, 15, 13, 4), (17, 14), (18, 11),
)  # fmt: skip


def random_binary(
    key: PRNGKeyArray, time: int, low: ArrayLike, high: ArrayLike, *, switch: ArrayLike, every: int = 1
) -> Float[Array, "time input"]:
    """A random telegraph signal: at each clock, every `every` samples, it changes sides with probability `switch`.

    The autocorrelation at `n` clocks is `(1 - 2 switch)^n` of the variance. Choose it as the standard excitation of
    linear models at two levels; `switch = 0.5` is white, a smaller one puts the power at low frequencies. For
    nonlinear models choose `steps`, which visits the levels in between. A fixed period: `prbs`.

    Source: Ljung (1999), System identification, section 13.3, random binary signals.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower level, a number or one for each input; finite.
        high: upper level, likewise, `high >= low`.
        switch: probability to change sides at a clock, a number or one for each input, in [0, 1].
        every: samples between clocks, >= 1.

    Returns:
        `time` samples of each input, all at `low` or `high`. Inputs are independent, and start on a random side.

    Raises:
        ValueError: `time < 1`, `every < 1`, a probability outside [0, 1], or bounds that are infinite or crossed.
        TypeError: `key` is none.

    Examples:
        ```python
        u = sciml.sources.signals.random_binary(jax.random.key(0), 1000, -1.0, 1.0, switch=0.1)
        assert set(u[:, 0].tolist()) == {-1.0, 1.0} and 60 < jnp.sum(u[1:] != u[:-1]) < 140
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    at_least("every", every, 1)
    lower, upper = interval(low, high)
    chance = each("switch", switch, lower, lambda p: (p >= 0) & (p <= 1), "probabilities in [0, 1]", "0.5 is white")
    intervals = count(time, every)
    # the first event is the side on which an input starts
    chances = jnp.broadcast_to(chance, (intervals, lower.size)).at[0].set(0.5)
    sides = jnp.cumsum(jr.bernoulli(key, chances), axis=0) % 2 == 1
    return pick(sides[clock(time, every)], lower, upper)


def prbs(time: int, low: ArrayLike, high: ArrayLike, *, order: int, every: int = 1) -> Float[Array, "time input"]:
    """A pseudo-random binary signal, an m-sequence: its period is `N = 2^order - 1` clocks, and it is nearly white.

    A shift register of maximum length makes it. Over one period, the autocorrelation of the levels ±1 is 1 at lag 0 and
    `-1/N` at every other lag. Choose it for periodic experiments whose periods are averaged. Inputs are copies of one
    sequence, each shifted by a part of the period, so that they are uncorrelated, up to 1/N, at lags below `N` /
    inputs.

    Args:
        time: number of samples, >= 1.
        low: lower level, a number or one for each input; finite.
        high: upper level, likewise, `high >= low`.
        order: bits of the shift register, 2 to 18.
        every: samples between clocks, >= 1; about a tenth of the fastest time constant of interest.

    Returns:
        `time` samples of each input, all at `low` or `high`.

    Raises:
        ValueError: `order` outside 2 to 18, more inputs than clocks in a period, `time < 1`, `every < 1`, or bounds
            that are infinite or crossed.

    Source: S. W. Golomb (1967), *Shift Register Sequences*, chapter 3.

    Examples:
        ```python
        u = sciml.sources.signals.prbs(14, -1.0, 1.0, order=3)[:, 0]
        assert u.sum() == 2.0 and u[:7].tolist() == u[7:].tolist()
        ```
    """
    at_least("time", time, 1)
    at_least("every", every, 1)
    if not 2 <= order <= len(TAPS) + 1:
        raise invalid("order", order, f"an integer from 2 to {len(TAPS) + 1}", "9 gives a period of 511 clocks")
    lower, upper = interval(low, high)
    period = 2**order - 1
    if lower.size > period:
        raise invalid("order", order, f"a period of at least {lower.size} clocks", "raise `order`")
    feedback = np.uint32(sum(1 << (tap - 1) for tap in TAPS[order - 2]))

    def shift(register: Array, _: None) -> tuple[Array, Array]:
        bit = jax.lax.population_count(register & feedback) & jnp.uint32(1)
        return ((register << jnp.uint32(1)) | bit) & jnp.uint32(period), bit == 1

    bits = jax.lax.scan(shift, jnp.uint32(period), None, period)[1]
    shifts = jnp.arange(lower.size) * period // lower.size
    return pick(bits[(clock(time, every)[:, None] + shifts) % period], lower, upper)
