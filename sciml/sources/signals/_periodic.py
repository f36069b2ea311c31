"""Periodic signals and sweeps of the frequency."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._checks import at_least
from ._bounds import between, each, interval, pick, positive


def sine(
    time: int, low: ArrayLike, high: ArrayLike, *, frequency: ArrayLike, dt: ArrayLike, phase: ArrayLike = 0.0
) -> Float[Array, "time input"]:
    """`u_k = (low + high)/2 + (high - low)/2 sin(2π f k dt + phase)`.

    Choose it to read the gain and phase of a system at one frequency; for many frequencies at once, `multisine`.

    Args:
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        frequency: `f`, in Hz if `dt` is in s, a number or one for each input, 0 < f <= 1/(2 dt).
        dt: time between samples, > 0.
        phase: in rad, a number or one for each input.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 1`, bounds that are infinite or crossed, a frequency above 1/(2 dt), or a wrong shape.

    Examples:
        ```python
        u = sciml.sources.signals.sine(5, -1.0, 1.0, frequency=0.25, dt=1.0)
        assert jnp.allclose(u[:, 0], jnp.array([0.0, 1.0, 0.0, -1.0, 0.0]), atol=1e-6)
        ```
    """
    lower, upper = interval(low, high)
    cycles = _cycles(time, lower, frequency, dt, phase)
    return between((1 + jnp.sin(2 * jnp.pi * cycles)) / 2, lower, upper)


def square(
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    frequency: ArrayLike,
    dt: ArrayLike,
    phase: ArrayLike = 0.0,
    duty: ArrayLike = 0.5,
) -> Float[Array, "time input"]:
    """`high` for the first part `duty` of every period, `low` for the rest.

    Choose it to see steps of both signs again and again; without a period, `steps` or `random_binary`.

    Args:
        time: number of samples, >= 1.
        low: lower level, a number or one for each input; finite.
        high: upper level, likewise, `high >= low`.
        frequency: in Hz if `dt` is in s, a number or one for each input, 0 < f <= 1/(2 dt).
        dt: time between samples, > 0.
        phase: in rad, a number or one for each input.
        duty: part of the period at `high`, in (0, 1).

    Returns:
        `time` samples of each input, all at `low` or `high`.

    Raises:
        ValueError: as in `sine`, or `duty` outside (0, 1).

    Examples:
        ```python
        u = sciml.sources.signals.square(8, 0.0, 2.0, frequency=0.25, dt=1.0)
        assert u[:, 0].tolist() == [2.0, 2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]
        ```
    """
    lower, upper = interval(low, high)
    part = each("duty", duty, lower, lambda x: (x > 0) & (x < 1), "numbers in (0, 1)", "0.5 gives equal halves")
    return pick(_cycles(time, lower, frequency, dt, phase) < part, lower, upper)


def sawtooth(
    time: int, low: ArrayLike, high: ArrayLike, *, frequency: ArrayLike, dt: ArrayLike, phase: ArrayLike = 0.0
) -> Float[Array, "time input"]:
    """`low + (high - low) c`, where `c` in [0, 1) is the part of the period that has passed.

    Choose it to move slowly through a whole range, as for a static characteristic.

    Args:
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        frequency: in Hz if `dt` is in s, a number or one for each input, 0 < f <= 1/(2 dt).
        dt: time between samples, > 0.
        phase: in rad, a number or one for each input.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: as in `sine`.

    Examples:
        ```python
        u = sciml.sources.signals.sawtooth(5, 0.0, 1.0, frequency=0.25, dt=1.0)
        assert u[:, 0].tolist() == [0.0, 0.25, 0.5, 0.75, 0.0]
        ```
    """
    lower, upper = interval(low, high)
    return between(_cycles(time, lower, frequency, dt, phase), lower, upper)


def chirp(
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    start: ArrayLike,
    stop: ArrayLike,
    dt: ArrayLike,
    is_logarithmic: bool = False,
) -> Float[Array, "time input"]:
    """`(low + high)/2 + (high - low)/2 sin φ(t)`, whose frequency `φ'/(2π)` goes from `start` to `stop`.

    With `s = t/T` in [0, 1] and `T = (time - 1) dt`, the frequency is `start + (stop - start) s`, or
    `start (stop/start)^s` if logarithmic, which spends equal times in all octaves. Choose it to look for resonances by
    eye; `multisine` excites the same band evenly and periodically.

    Args:
        time: number of samples, >= 2.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        start: frequency of the first sample, in Hz if `dt` is in s, a number or one for each input, in (0, 1/(2 dt)].
        stop: frequency of the last sample, likewise; may be below `start`.
        dt: time between samples, > 0.
        is_logarithmic: whether the frequency changes exponentially instead of linearly.

    Returns:
        `time` samples of each input.

    Raises:
        ValueError: `time < 2`, and as in `sine`.

    Examples:
        ```python
        u = sciml.sources.signals.chirp(1000, -1.0, 1.0, start=0.1, stop=10.0, dt=0.01, is_logarithmic=True)
        assert u.shape == (1000, 1) and abs(u).max() <= 1.0
        ```
    """
    at_least("time", time, 2)
    lower, upper = interval(low, high)
    step = positive("dt", dt, lower, "give the sampling time")
    first, last = _frequency("start", start, dt, lower), _frequency("stop", stop, dt, lower)
    s = (jnp.arange(time, dtype=lower.dtype) / (time - 1))[:, None]
    # φ/(2π) = T ∫ f ds: start s + (stop - start) s²/2, or start (r^s - 1)/ln r with r = stop/start
    if is_logarithmic:
        rate = jnp.log(last / first)
        is_flat = jnp.abs(rate) < jnp.sqrt(jnp.finfo(lower.dtype).eps)
        safe = jnp.where(is_flat, 1, rate)
        integral = first * jnp.where(is_flat, s * (1 + rate * s / 2), jnp.expm1(safe * s) / safe)
    else:
        integral = first * s + (last - first) * s**2 / 2
    cycles = (time - 1) * step * integral
    return between((1 + jnp.sin(2 * jnp.pi * jnp.mod(cycles, 1))) / 2, lower, upper)


def _frequency(argument: str, value: ArrayLike, dt: ArrayLike, like: Float[Array, " input"]) -> Float[Array, " input"]:
    """A frequency for each input, checked against the Nyquist frequency where both are concrete."""
    # one part in 10^6 beyond 1/(2 dt) is rounding
    limit = np.inf if isinstance(dt, Tracer) else (1 + 1e-6) / (2 * np.asarray(dt, dtype=float))
    fix = "sample faster, or lower the frequency"
    return each(argument, value, like, lambda f: (f > 0) & (f <= limit), "frequencies in (0, 1/(2 dt)]", fix)


def _cycles(
    time: int, like: Float[Array, " input"], frequency: ArrayLike, dt: ArrayLike, phase: ArrayLike
) -> Float[Array, "time input"]:
    """The part of its period, in [0, 1), that each input has passed at each sample."""
    at_least("time", time, 1)
    step = positive("dt", dt, like, "give the sampling time")
    rate = _frequency("frequency", frequency, dt, like)
    offset = each("phase", phase, like, np.isfinite, "finite numbers", "give the phase in rad")
    samples = jnp.arange(time, dtype=like.dtype)[:, None]
    return jnp.mod(samples * (rate * step) + offset / (2 * jnp.pi), 1)
