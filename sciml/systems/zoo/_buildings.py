"""A building with one zone, and the disturbances that act on it: recorded, or synthetic."""

from os import PathLike
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from .._linear import LinearDiscrete

_DT = 300.0  # s
_DAY = 86400.0  # s


def single_zone() -> LinearDiscrete:
    """A building with one zone, its walls and a radiator, as a `LinearDiscrete` with `dt` = 300 s.

    States: temperatures of floor, inner facade, outer facade and zone air [°C]; output: that of the zone air. Inputs,
    shape `(4,)`: the radiator's heat [W], 0 to 5000; then the disturbances ambient temperature [°C], internal gains [W]
    and solar radiation [W/m²], from `single_zone_record` or `single_zone_weather`.

    The matrices are rounded in the source: the row of the zone air sums to 1.0099 with the ambient temperature, so that
    an unheated building settles at 1.07 times a constant ambient temperature in °C.

    Source: Drgoňa, Picard & Helsen (2020), Cloud-based implementation of white-box model predictive control, J. Process
    Control 88, 63-77, doi:10.1016/j.jprocont.2020.02.007 (BeSim); matrices of NeuroMANCER 1.5 (SimpleSingleZone).
    """
    A = [
        [0.995, 0.0017, 0.0, 0.0031],
        [0.0007, 0.9957, 0.0003, 0.0031],
        [0.0, 0.0003, 0.9834, 0.0],
        [0.2015, 0.4877, 0.01, 0.2571],
    ]
    heat = [[1.7586e-6], [1.7584e-6], [1.839e-10], [5.0563e-4]]
    disturbances = [[0.0002, 0.0, 0.0], [0.0002, 0.0, 0.0], [0.0163, 0.0, 0.0], [0.0536, 0.0005, 0.0001]]
    return LinearDiscrete(np.array(A), np.hstack([heat, disturbances]), np.array([[0.0, 0.0, 0.0, 1.0]]), dt=_DT)


def single_zone_record(path: str | PathLike[str]) -> np.ndarray:
    """The recorded disturbances of `single_zone`, one row per 300 s, shape `(time, 3)`; read from a MATLAB file.

    Ambient temperature [°C], internal gains [W], solar radiation [W/m²]; 8929 rows in the file of the source, from
    midnight of the first of 31 days.

    Args:
        path: `SimpleSingleZone.mat` of the source, or any MATLAB v5 file with such a matrix named `disturb`.

    Raises:
        ValueError: no such file, no matrix `disturb` with three columns, or numbers that are not finite.

    Source: the repository `pnnl/psl`, `psl/parameters/buildings/SimpleSingleZone.mat`.
    """
    from scipy.io import loadmat  # not needed by anything else here, and slow to import

    if not Path(path).is_file():
        raise invalid("path", str(path), "a file", "without the record, use `single_zone_weather(key, steps=...)`")
    try:
        record = np.asarray(loadmat(path, variable_names=["disturb"]).get("disturb", np.zeros(0)), float)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise invalid("path", f"a file that is not read: {error}", "a MATLAB v5 file", "save it with `-v7`") from error
    if record.ndim != 2 or record.shape[1] != 3 or not np.isfinite(record).all():
        got = f"a file whose `disturb` has the shape {record.shape}"
        raise invalid("path", got, "a matrix `disturb` with 3 finite columns", "pass `SimpleSingleZone.mat`")
    return record


def single_zone_weather(key: PRNGKeyArray, *, steps: int, dt: float = _DT) -> Float[Array, "time 3"]:
    """Synthetic disturbances of `single_zone` from midnight of a Monday on, shape `(steps, 3)`; units as in the record.

    Ambient temperature: a mean of each day, which walks, plus a sine over the day with its minimum at six in the
    morning. Internal gains: 500 W from 8 to 18 on working days. Solar radiation: a sine over the day, clipped at zero,
    times the clearness of the day, uniform in [0.25, 1]. Means, ranges and schedule are those of the record; its
    dependence between sun and temperature is not there.

    Args:
        key: of the days' means and clearness.
        steps: number of samples, >= 1.
        dt: sampling time, s, > 0.

    Raises:
        ValueError: `steps < 1` or `dt <= 0`.
    """
    check_key(key)
    if steps < 1 or not dt > 0:
        raise invalid("steps, dt", (steps, dt), "steps >= 1 and dt > 0", "give the number of samples and seconds")
    seconds = np.arange(steps) * dt
    day, hour = np.floor_divide(seconds, _DAY).astype(int), np.mod(seconds, _DAY) / 3600
    days = int(day[-1]) + 2
    walk, clear = jr.split(key)
    # An autoregression over days with standard deviation 5 K and correlation 0.8 from one day to the next.
    noise = 5.0 * jr.normal(walk, (days,))
    weights = np.tril(0.8 ** np.maximum(np.arange(days)[:, None] - np.arange(days)[None], 0.0))
    weights[:, 1:] *= 0.6
    mean = 11.5 + jnp.clip(jnp.asarray(weights, noise.dtype) @ noise, -9.0, 9.0)
    at = jnp.asarray(np.mod(seconds, _DAY) / _DAY, noise.dtype)
    drift = mean[day] * (1 - at) + mean[day + 1] * at
    ambient = drift - 2.5 * jnp.asarray(np.cos(2 * np.pi * (hour - 6) / 24), noise.dtype)
    gains = np.where((hour >= 8) & (hour < 18) & (day % 7 < 5), 500.0, 0.0)
    sun = np.maximum(np.sin(np.pi * (hour - 5) / 15), 0.0) * 1200.0 * ((hour > 5) & (hour < 20))
    solar = jnp.asarray(sun, noise.dtype) * jr.uniform(clear, (days,), minval=0.25)[day]
    return jnp.stack([ambient, jnp.asarray(gains, noise.dtype), solar], axis=1)
