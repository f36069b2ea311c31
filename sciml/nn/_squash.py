"""The smooth monotone map from the real numbers to an interval, and its constants."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from sciml.core import invalid


def numbers(values: Any, size: int, argument: str) -> tuple[float, ...]:
    """`values`, one number or a record of `size` entries, as a tuple of `size` Python floats.

    A network stores its constants as Python floats: they are saved with it, and no optimiser changes them.
    """
    leaves = jtu.tree_leaves(values)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        raise invalid(argument, "a traced array", "concrete numbers", "build the network outside `jit` and `vmap`")
    try:
        flat = [np.asarray(leaf, dtype=float).ravel() for leaf in leaves]
    except (TypeError, ValueError) as error:
        raise invalid(argument, repr(values), "numbers", "make every leaf of the record numeric") from error
    entries = np.concatenate([*flat, np.zeros(0)])
    if entries.size == 1:
        entries = np.repeat(entries, size)
    if entries.size != size:
        raise invalid(argument, f"{entries.size} entries", f"1 or {size} entries", "give one number per entry")
    if np.isnan(entries).any():
        raise invalid(argument, f"NaN in {tuple(entries.tolist())}", "numbers", "use `jnp.inf` where there is no bound")
    return tuple(entries.tolist())


def check_bounds(lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
    """Raises if an interval is empty: `lower > upper`, or both infinite on one side."""
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if low > high or low == np.inf or high == -np.inf:
            raise invalid(
                "lower", f"lower {low} and upper {high} for entry {i}", "lower <= upper", "swap or relax the bounds"
            )


def constant(values: tuple[Any, ...], like: Float[Array, " n"]) -> Float[Array, " n"]:
    """`values` as a vector without derivative, in the dtype of `like`, even if a tree map made arrays of them."""
    return jax.lax.stop_gradient(jnp.asarray(values, dtype=like.dtype))


def bounded(y: Float[Array, " n"], lower: tuple[Any, ...], upper: tuple[Any, ...]) -> Float[Array, " n"]:
    """`squash` for bounds stored as numbers; if all are finite, only one of its four cases is computed."""
    known = all(isinstance(bound, float) and np.isfinite(bound) for bound in (*lower, *upper))
    low, high = constant(lower, y), constant(upper, y)
    if known:
        return jnp.clip(low + (high - low) * jax.nn.sigmoid(y), low, high)
    return squash(y, low, high)


def squash(y: Float[Array, " n"], lower: Float[Array, " n"], upper: Float[Array, " n"]) -> Float[Array, " n"]:
    """Each entry of `y` mapped monotonically and smoothly into `[lower, upper]`.

    l + (u - l) sigmoid(y)    both bounds finite
    l + softplus(y)           lower bound only
    u - softplus(-y)          upper bound only
    y                         none
    """
    has_lower, has_upper = jnp.isfinite(lower), jnp.isfinite(upper)
    low, high = jnp.where(has_lower, lower, 0), jnp.where(has_upper, upper, 0)
    interval = low + (high - low) * jax.nn.sigmoid(y)
    one_sided = jnp.where(has_lower, low + jax.nn.softplus(y), high - jax.nn.softplus(-y))
    value = jnp.where(has_lower & has_upper, interval, jnp.where(has_lower | has_upper, one_sided, y))
    return jnp.clip(value, lower, upper)  # rounding of l + (u - l) may overshoot u by one unit in the last place
