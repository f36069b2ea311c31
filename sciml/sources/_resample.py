"""Records on an even grid of times."""

import numpy as np

from ..core import invalid
from ._record import Record, record

_UNEVEN = 1e-3  # of a sampling time: the largest difference that is rounding of the times


def resample(data: Record, *, dt: float | None = None) -> Record:
    """The record at the times `t[0] + k dt`: outputs interpolated linearly, inputs held, as they act.

    For models in discrete time, which need even samples; continuous ones take any times. A new sample of an
    output counts as measured if an old one was measured within three quarters of a sampling time, so that nothing is
    invented inside a gap.
    Interpolation is no filter: signals that move much between two new samples are to be filtered before.

    Args:
        data: one record.
        dt: sampling time, > 0, in the unit of the record; None for the median of its intervals.

    Returns:
        The record itself if its times are even to a thousandth of `dt`.

    Raises:
        ValueError: several records, or `dt` out of range. Not for use inside `jit`.

    Examples:
        ```python
        uneven = sciml.sources.record(y=[0.0, 1.0, 2.2, 3.0], t=[0.0, 1.0, 2.2, 3.0])
        even = sciml.sources.resample(uneven, dt=1.0)
        assert jnp.allclose(even.y[:, 0], jnp.arange(4.0))
        ```
    """
    if data.t.ndim != 1:
        raise invalid("data", "several records", "one", "resample each, and stack the results")
    length = int(data.length)
    t = np.asarray(data.t)[:length]
    step = float(np.median(np.diff(t))) if dt is None else float(dt)
    if not (np.isfinite(step) and 0 < step <= t[-1] - t[0]):
        raise invalid("dt", dt, f"0 < dt <= {t[-1] - t[0]:g}, the length of the record", "give it in the unit of `t`")
    if np.max(np.abs(np.diff(t) - step)) <= _UNEVEN * step:
        return data
    grid = np.arange(t[0], t[-1] + 0.5 * step, step)
    y, measured = np.asarray(data.y)[:length], np.asarray(data.is_measured)[:length]
    columns = [_interpolated(grid, t[keep], y[keep, k], 0.75 * step) for k, keep in enumerate(measured.T)]
    # The last input before each new time; times that differ by rounding are the same.
    before = np.maximum(np.searchsorted(t, grid + 1e-9 * step, side="right") - 1, 0)
    u = None if data.u is None else np.asarray(data.u)[:length][before]
    return record(np.stack(columns, axis=1), u, t=grid)


def _interpolated(grid: np.ndarray, t: np.ndarray, y: np.ndarray, reach: float) -> np.ndarray:
    """Chords through the samples that were measured, and NaN farther than `reach` from any of them."""
    after = np.searchsorted(t, grid)
    nearest = np.minimum(*(np.abs(t[np.clip(k, 0, len(t) - 1)] - grid) for k in (after, after - 1)))
    return np.where(nearest <= reach, np.interp(grid, t, y), np.nan)
