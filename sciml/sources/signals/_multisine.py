"""Periodic signals with all their power in a band of frequencies, and with a low crest factor."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from .._checks import at_least
from ._bounds import between, interval

Spectra = Float[Array, "line input"]
"""Phases of the lines, one column for each input."""

CLIP = 0.8  # level of clipping, part of the peak; measured over 0.7 to 0.9, the best after 200 steps


def multisine(
    key: PRNGKeyArray,
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    band: tuple[ArrayLike, ArrayLike],
    dt: ArrayLike,
    period: int | None = None,
    iterations: int = 200,
) -> Float[Array, "time input"]:
    """`(low + high)/2 + c Σ_k cos(2π k t/T + φ_k)`: equal amplitudes on all lines `k/T` in `band`, none elsewhere.

    `T = period dt`; the phases start at random and are moved to lower the crest factor (peak / RMS), and `c` makes the
    peak touch a bound. Choose it as the standard excitation for measured frequency responses, and for nonlinear
    models too: in whole periods it has no leakage, and different keys give different realisations of one spectrum.
    For one fixed signal without a key: `schroeder`.

    Args:
        key: source of the phases; inputs have independent ones.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        band: lowest and highest excited frequency, in Hz if `dt` is in s; 0 < lowest <= highest < 1/(2 dt).
        dt: time between samples, > 0.
        period: samples per period, >= 3; None for `time`. The lines lie `1/(period dt)` apart.
        iterations: steps of crest-factor reduction, >= 0; 0 leaves the random phases.

    Returns:
        `time` samples of each input, whose mean over a period is the middle of the bounds.

    Raises:
        ValueError: no line in the band, a band beyond 1/(2 dt), `time < 1`, `period < 3`, `iterations < 0`, or bounds
            that are infinite or crossed.
        TypeError: `key` is none.

    Source: R. Pintelon & J. Schoukens (2012), *System Identification*, section 5.3; the reduction by clipping is
    that of E. Van der Ouderaa, J. Schoukens & J. Renneboog (1988), IEEE Trans. Instrum. Meas. 37(1), 145-147, with a
    fixed level of clipping.

    Examples:
        ```python
        u = sciml.sources.signals.multisine(jax.random.key(0), 1024, -1.0, 1.0, band=(0.5, 5.0), dt=0.01)
        assert abs(u).max() <= 1.0 and 1 / jnp.sqrt(jnp.mean(u**2)) < 1.7  # the crest factor; random phases: above 3
        ```
    """
    check_key(key)
    lower, upper = interval(low, high)
    period = time if period is None else period
    lines = _lines(time, period, iterations, band, dt, 1, lower.dtype)
    phases = jr.uniform(key, (lines.size, lower.size), lower.dtype, maxval=2 * np.pi)
    return _signal(time, period, iterations, jnp.broadcast_to(lines[:, None], phases.shape), phases, lower, upper)


def schroeder(
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    band: tuple[ArrayLike, ArrayLike],
    dt: ArrayLike,
    period: int | None = None,
    iterations: int = 200,
) -> Float[Array, "time input"]:
    """A `multisine` that starts from Schroeder's phases `φ_n = -π n (n - 1)/N`, `n = 1, ..., N`; the same in each call.

    Several inputs share the lines of the band in turn (`n = i` modulo the number of inputs), so that over a period they
    are uncorrelated, and the response at one line belongs to one input.

    Args:
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`.
        band: lowest and highest excited frequency, in Hz if `dt` is in s; 0 < lowest <= highest < 1/(2 dt).
        dt: time between samples, > 0.
        period: samples per period, >= 3; None for `time`.
        iterations: steps of crest-factor reduction, >= 0; 0 leaves Schroeder's phases.

    Returns:
        `time` samples of each input, whose mean over a period is the middle of the bounds.

    Raises:
        ValueError: fewer lines in the band than inputs, and as in `multisine`.

    Source: M. R. Schroeder (1970), IEEE Trans. Inf. Theory 16(1), 85-89, for a flat spectrum; D. E. Rivera, H. Lee,
    H. D. Mittelmann & M. W. Braun (2009), J. Process Control 19(4), 623-635, for lines in turn.

    Examples:
        ```python
        u = sciml.sources.signals.schroeder(1024, -1.0, jnp.array([1.0, 2.0]), band=(0.5, 5.0), dt=0.01)
        assert u.shape == (1024, 2)
        ```
    """
    lower, upper = interval(low, high)
    period = time if period is None else period
    in_band = _lines(time, period, iterations, band, dt, lower.size, lower.dtype)
    rank = jnp.cumsum(in_band) - 1
    lines = in_band[:, None] & (rank[:, None] % lower.size == jnp.arange(lower.size))
    n, total = jnp.cumsum(lines, axis=0), jnp.maximum(jnp.sum(lines, axis=0), 1)
    phases = -jnp.pi * (n * (n - 1) % (2 * total)).astype(lower.dtype) / total.astype(lower.dtype)
    return _signal(time, period, iterations, lines, phases, lower, upper)


def _lines(
    time: int,
    period: int,
    iterations: int,
    band: tuple[ArrayLike, ArrayLike],
    dt: ArrayLike,
    least: int,
    dtype: np.dtype,
) -> Bool[Array, " line"]:
    """Which of the lines 0, 1, ..., period // 2 lie in the band."""
    at_least("time", time, 1)
    at_least("period", period, 3)
    at_least("iterations", iterations, 0)
    low, high, step = (jnp.asarray(number).astype(dtype) for number in (*band, dt))
    k = jnp.arange(period // 2 + 1, dtype=dtype) / period  # in cycles per sample, as `low dt` and `high dt`
    # the line of a frequency on the edge may lie beside it by rounding: a thousandth of a line is inside
    slack = 1e-3 / period
    lines = (k >= low * step - slack) & (k <= high * step + slack) & (k > 0) & (2 * k < 1)
    if isinstance(lines, Tracer):
        return lines
    if not (0 < low <= high and 2 * high * step < 1):
        edges, limit = (float(low), float(high)), f"1/(2 dt) = {0.5 / float(step):.6g}"
        raise invalid("band", edges, f"0 < lowest <= highest < {limit}", "check the units of `band` and `dt`")
    if int(jnp.sum(lines)) < least:
        got, spacing = f"{int(jnp.sum(lines))} lines in the band", 1 / (period * float(step))
        raise invalid(
            "band", got, f"at least {least}; they lie {spacing:.6g} apart", "raise `period` or widen the band"
        )
    return lines


def _signal(
    time: int,
    period: int,
    iterations: int,
    lines: Bool[Array, "line input"],
    phases: Spectra,
    low: Float[Array, " input"],
    high: Float[Array, " input"],
) -> Float[Array, "time input"]:
    def wave(phases: Spectra) -> Float[Array, "sample input"]:
        spectrum = jnp.where(lines, jax.lax.complex(jnp.cos(phases), jnp.sin(phases)), 0)
        return jnp.fft.irfft(spectrum, period, axis=0)

    def clip(carry: tuple[Spectra, Spectra, Array], _: None) -> tuple[tuple[Spectra, Spectra, Array], None]:
        now, best, least = carry
        values = wave(now)
        peak = jnp.max(jnp.abs(values), axis=0)
        best, least = jnp.where(peak < least, now, best), jnp.minimum(peak, least)
        return (jnp.angle(jnp.fft.rfft(jnp.clip(values, -CLIP * peak, CLIP * peak), axis=0)), best, least), None

    # amplitudes are fixed, and with them the RMS (Parseval): the lowest peak is the lowest crest factor
    start = (phases, phases, jnp.full(low.shape, jnp.inf, low.dtype))
    (_, best, _), _ = jax.lax.scan(clip, start, None, iterations + 1)
    values = wave(best)
    peak = jnp.max(jnp.abs(values), axis=0)
    unit = (1 + values / jnp.where(peak > 0, peak, 1)) / 2
    return between(unit[jnp.arange(time) % period], low, high)
