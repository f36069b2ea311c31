"""Checks of a time grid and an initial state at the public door."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sciml.core import as_floats, invalid


def as_state(x0: Any) -> Any:
    """The initial state as arrays of floats."""
    x0 = jax.tree.map(lambda a: a.astype(a.dtype), as_floats(x0, "x0"))
    if not jax.tree.leaves(x0):
        raise invalid("x0", repr(x0), "numbers", "give the state at the start: an array or a record of arrays")
    return x0


def time_grid(ts: ArrayLike, dtype: Any = None) -> Float[Array, " time"]:
    """`ts` as a one-dimensional floating-point array, checked to increase strictly where it is concrete."""
    ts = jnp.asarray(ts)
    dtype = dtype or (ts.dtype if eqx.is_inexact_array(ts) else jnp.zeros(()).dtype)
    if ts.ndim != 1 or ts.shape[0] < 2:
        raise invalid("ts", f"shape {ts.shape}", "one dimension and at least two times", "use `jnp.linspace`")
    ts = ts.astype(dtype)
    if not isinstance(ts, jax.core.Tracer):
        steps = np.diff(np.asarray(ts))
        if not np.all(steps > 0):
            k = int(np.argmin(steps > 0))
            raise invalid(
                "ts",
                f"ts[{k}] = {float(ts[k])} and ts[{k + 1}] = {float(ts[k + 1])} in {ts.dtype}",
                "strictly increasing times",
                "sort them and remove repeated ones (or use float64 if they differ by less than float32 resolves)",
            )
    return ts


def samples(ts: Float[Array, " time"], us: Any) -> Any:
    """`us` as floating-point arrays, checked to have one entry per time."""

    def check(path: Any, leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        if array.ndim == 0 or array.shape[0] != ts.shape[0]:
            name = f"us{jax.tree_util.keystr(path)}"
            raise invalid(
                name,
                f"shape {array.shape}",
                f"({ts.shape[0]}, ...), one entry per time",
                "give one entry per time in `ts`",
            )
        return array if eqx.is_inexact_array(array) else array.astype(ts.dtype)

    return jax.tree_util.tree_map_with_path(check, us)
