"""Errors of simulated signals against measured ones."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..core import as_floats, invalid


class FreeRun(eqx.Module):
    """The error measures of a free run, each with one entry per channel (a scalar for one signal)."""

    rmse: Float[Array, "*channel"]
    """Root of the mean squared error, in the signal's unit."""
    nrmse: Float[Array, "*channel"]
    """RMSE over the standard deviation of the measured signal; 1 is as good as its mean."""
    r2: Float[Array, "*channel"]
    """`1 - NRMSE²`, the part of the variance that is explained."""
    fit_percent: Float[Array, "*channel"]
    """`100 (1 - NRMSE)` %."""


# Two sets of axis names: unequal shapes get our own error.
Signal = Float[Array, "time *channel"] | Float[np.ndarray, "time *channel"]
Simulated = Float[Array, "samples *each"] | Float[np.ndarray, "samples *each"]


def rmse(measured: Signal, simulated: Simulated, *, skip: int = 0) -> Float[Array, "*channel"]:
    """The root mean square error `sqrt(mean((y[skip:] - s[skip:])²))` per channel, in the signal's unit.

    Args:
        measured: `y`, shape `[time]` or `[time, channel]`.
        simulated: `s`, the same shape.
        skip: number of initial samples that are not scored, `0 <= skip < time`.

    Raises:
        ValueError: for unequal shapes, a `skip` that leaves nothing, and numbers that are not finite (the last is
            checked outside `jit`).

    Gradient: in both modes; NaN at a perfect fit, as for any norm at zero.
    """
    y, s = _scored(measured, simulated, skip)
    return _rmse(y, s)


def nrmse(measured: Signal, simulated: Simulated, *, skip: int = 0) -> Float[Array, "*channel"]:
    """The normalised error `RMSE / std(y[skip:])` per channel: 0 is perfect, 1 is as good as the mean of the signal.

    Args:
        measured, simulated, skip: as in `rmse`.

    Raises:
        ValueError: as `rmse`, and for a measured channel that is constant (checked outside `jit`).

    Gradient: as `rmse`.
    """
    y, s = _scored(measured, simulated, skip)
    return _rmse(y, s) / _spread(y)


def r2(measured: Signal, simulated: Simulated, *, skip: int = 0) -> Float[Array, "*channel"]:
    """The coefficient of determination `1 - NRMSE²` per channel: 1 is perfect, 0 is as good as the mean of the signal.

    Args:
        measured, simulated, skip: as in `rmse`.

    Raises:
        ValueError: as `nrmse`.

    Gradient: in both modes.
    """
    y, s = _scored(measured, simulated, skip)
    return 1.0 - jnp.mean((y - s) ** 2, axis=0) / _spread(y) ** 2


def free_run(measured: Signal, simulated: Simulated, *, skip: int = 0) -> FreeRun:
    """RMSE, NRMSE, R² and fit of a free run: a simulation from the inputs and at most the first `skip` outputs.

    Args:
        measured, simulated, skip: as in `rmse`; `skip` is the initialisation window, as in benchmark protocols.

    Raises:
        ValueError: as `nrmse`.

    Gradient: as `rmse`.
    """
    y, s = _scored(measured, simulated, skip)
    error = _rmse(y, s)
    relative = error / _spread(y)
    return FreeRun(rmse=error, nrmse=relative, r2=1.0 - relative**2, fit_percent=100.0 * (1.0 - relative))


def _rmse(y: Array, s: Array) -> Array:
    return jnp.sqrt(jnp.mean((y - s) ** 2, axis=0))


def _spread(y: Array) -> Array:
    """The standard deviation of each channel, which must not vanish."""
    std = jnp.std(y, axis=0)
    if not isinstance(std, Tracer) and not bool(jnp.all(std > 0)):
        got = "a channel that is constant over the scored samples"
        raise invalid("measured", got, "a signal that varies", "report `rmse`, or leave the channel out")
    return std


def _scored(measured: Signal, simulated: Simulated, skip: int) -> tuple[Array, Array]:
    """Both signals, checked, in one dtype, without the first `skip` samples."""
    y, s = as_floats(measured, "measured"), as_floats(simulated, "simulated")
    if y.shape != s.shape:
        expected = f"the shape of `measured`, {y.shape}"
        raise invalid("simulated", f"shape {s.shape}", expected, "simulate at the measured times, channel for channel")
    if not 0 <= skip < y.shape[0]:
        expected = f"0 <= skip < {y.shape[0]}, the number of samples"
        raise invalid("skip", skip, expected, "score at least one sample")
    dtype = np.promote_types(y.dtype, s.dtype)
    y, s = y[skip:].astype(dtype), s[skip:].astype(dtype)
    for name, signal in (("measured", y), ("simulated", s)):
        if not isinstance(signal, Tracer) and not bool(jnp.all(jnp.isfinite(signal))):
            count = int(jnp.sum(~jnp.isfinite(signal)))
            fix = "leave out missing samples; a simulation that diverges has no score"
            raise invalid(name, f"{count} entries that are NaN or infinite", "finite numbers", fix)
    return y, s
