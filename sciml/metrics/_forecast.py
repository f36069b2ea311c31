"""Errors of simulated signals against measured ones."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ..core import as_floats, invalid


class ForecastErrors(eqx.Module):
    """The error measures of a forecast, each with one entry per channel (a scalar for one signal)."""

    rmse: Float[Array, "*channel"]
    """Root of the mean squared error, in the signal's unit."""
    nrmse: Float[Array, "*channel"]
    """RMSE over the standard deviation of the measured signal; 1 is as good as its mean."""
    r2: Float[Array, "*channel"]
    """`1 - NRMSE²`, the part of the variance that is explained."""
    fit_percent: Float[Array, "*channel"]
    """`100 (1 - NRMSE)` %."""


# Axis names of their own: unequal shapes get our own error.
Signal = Float[Array, "time *channel"] | Float[np.ndarray, "time *channel"]
Simulated = Float[Array, "samples *each"] | Float[np.ndarray, "samples *each"]
Mask = Bool[Array, "marks *marked"] | Bool[np.ndarray, "marks *marked"] | None


def rmse(
    measured: Signal, simulated: Simulated, *, skip: int = 0, is_measured: Mask = None
) -> Float[Array, "*channel"]:
    """The root mean square error `sqrt(mean((y[skip:] - s[skip:])²))` per channel, in the signal's unit.

    Args:
        measured: `y`, shape `[time]` or `[time, channel]`.
        simulated: `s`, the same shape.
        skip: number of initial samples that are not scored, `0 <= skip < time`.
        is_measured: False for samples that are missing and not scored, the shape of `measured`; what stands there is
            not used. All count by default.

    Raises:
        ValueError: for unequal shapes, a `skip` that leaves nothing, and, checked outside `jit`, a channel without a
            measured sample and numbers that are not finite. Under `jit` such a channel has the error NaN.

    Gradient: in both modes; NaN at a perfect fit, as for any norm at zero.
    """
    return _rmse(*_scored(measured, simulated, skip, is_measured))


def nrmse(
    measured: Signal, simulated: Simulated, *, skip: int = 0, is_measured: Mask = None
) -> Float[Array, "*channel"]:
    """The normalised error `RMSE / std(y[skip:])` per channel: 0 is perfect, 1 is as good as the mean of the signal.

    Args:
        measured, simulated, skip, is_measured: as in `rmse`.

    Raises:
        ValueError: as `rmse`, and for a measured channel that is constant (checked outside `jit`).

    Gradient: as `rmse`.
    """
    y, s, mask = _scored(measured, simulated, skip, is_measured)
    return _rmse(y, s, mask) / _spread(y, mask)


def r2(measured: Signal, simulated: Simulated, *, skip: int = 0, is_measured: Mask = None) -> Float[Array, "*channel"]:
    """The coefficient of determination `1 - NRMSE²` per channel: 1 is perfect, 0 is as good as the mean of the signal.

    Args:
        measured, simulated, skip, is_measured: as in `rmse`.

    Raises:
        ValueError: as `nrmse`.

    Gradient: in both modes.
    """
    y, s, mask = _scored(measured, simulated, skip, is_measured)
    return 1.0 - _mean((y - s) ** 2, mask) / _spread(y, mask) ** 2


def forecast_errors(
    measured: Signal, simulated: Simulated, *, skip: int = 0, is_measured: Mask = None
) -> ForecastErrors:
    """RMSE, NRMSE, R² and fit of a forecast, such as a free run from the inputs and at most the first `skip` outputs.

    Args:
        measured, simulated, skip, is_measured: as in `rmse`; `skip` is the initialisation window, as in benchmark
            protocols.

    Raises:
        ValueError: as `nrmse`.

    Gradient: as `rmse`.
    """
    y, s, mask = _scored(measured, simulated, skip, is_measured)
    error = _rmse(y, s, mask)
    relative = error / _spread(y, mask)
    return ForecastErrors(rmse=error, nrmse=relative, r2=1.0 - relative**2, fit_percent=100.0 * (1.0 - relative))


def _mean(values: Array, mask: Array | None) -> Array:
    """The mean over the measured samples of each channel."""
    if mask is None:
        return jnp.mean(values, axis=0)
    return jnp.sum(jnp.where(mask, values, 0), axis=0) / jnp.sum(mask, axis=0).astype(values.dtype)


def _rmse(y: Array, s: Array, mask: Array | None) -> Array:
    return jnp.sqrt(_mean((y - s) ** 2, mask))


def _spread(y: Array, mask: Array | None) -> Array:
    """The standard deviation of each channel, which must not vanish."""
    std = jnp.sqrt(_mean((y - _mean(y, mask)) ** 2, mask))
    if not isinstance(std, Tracer) and not bool(jnp.all(std > 0)):
        got = "a channel that is constant over the scored samples"
        raise invalid("measured", got, "a signal that varies", "report `rmse`, or leave the channel out")
    return std


def _scored(measured: Signal, simulated: Simulated, skip: int, is_measured: Mask) -> tuple[Array, Array, Array | None]:
    """Both signals, checked, in one dtype, 0 where nothing was measured, and the mask; without the first `skip`."""
    y, s = as_floats(measured, "measured"), as_floats(simulated, "simulated")
    for name, got in (("simulated", s.shape), ("is_measured", y.shape if is_measured is None else is_measured.shape)):
        if y.shape != got:
            fix = "give a number for each measured time, channel for channel"
            raise invalid(name, f"shape {got}", f"the shape of `measured`, {y.shape}", fix)
    if not 0 <= skip < y.shape[0]:
        expected = f"0 <= skip < {y.shape[0]}, the number of samples"
        raise invalid("skip", skip, expected, "score at least one sample")
    dtype = np.promote_types(y.dtype, s.dtype)
    y, s = y[skip:].astype(dtype), s[skip:].astype(dtype)
    mask = None if is_measured is None else jnp.asarray(is_measured)[skip:]
    if mask is not None:
        if not isinstance(mask, Tracer) and not bool(jnp.all(jnp.any(mask, axis=0))):
            got = "a channel without a sample to score"
            raise invalid("is_measured", got, "at least one in each channel", "leave the channel out")
        y, s = jnp.where(mask, y, 0), jnp.where(mask, s, 0)
    for name, signal in (("measured", y), ("simulated", s)):
        if not isinstance(signal, Tracer) and not bool(jnp.all(jnp.isfinite(signal))):
            count = int(jnp.sum(~jnp.isfinite(signal)))
            fix = "leave out missing samples by `is_measured`; a simulation that diverges has no score"
            raise invalid(name, f"{count} entries that are NaN or infinite", "finite numbers", fix)
    return y, s, mask
