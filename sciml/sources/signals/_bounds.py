"""Bounds, numbers for each input, and checks that all signals share."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from sciml.core import invalid


def interval(low: ArrayLike, high: ArrayLike) -> tuple[Float[Array, " input"], Float[Array, " input"]]:
    """`low` and `high` as vectors of one floating-point dtype, one entry for each input."""
    kinds = [np.dtype(getattr(bound, "dtype", int)) for bound in (low, high)]
    kinds = [kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)]
    dtype = np.result_type(*kinds) if kinds else jnp.zeros(()).dtype
    lower, upper = (jnp.atleast_1d(jnp.asarray(bound).astype(dtype)) for bound in (low, high))
    for argument, bound in (("low", lower), ("high", upper)):
        if bound.ndim > 1:
            fix = "use `jax.vmap` for several experiments"
            raise invalid(argument, f"an array of shape {bound.shape}", "a number, or one for each input", fix)
    if lower.size != upper.size and 1 not in (lower.size, upper.size):
        raise invalid("high", f"{upper.size} entries", f"{lower.size} as in `low`, or one", "give one for each input")
    if not isinstance(lower, Tracer) and not isinstance(upper, Tracer):
        if not bool(jnp.all(jnp.isfinite(lower)) & jnp.all(jnp.isfinite(upper)) & jnp.all(lower <= upper)):
            got = f"low {lower.tolist()} and high {upper.tolist()}"
            raise invalid("low", got, "finite bounds with low <= high", "swap or complete the bounds")
    size = max(lower.size, upper.size)
    return jnp.broadcast_to(lower, (size,)), jnp.broadcast_to(upper, (size,))


def each(
    argument: str,
    value: ArrayLike,
    like: Float[Array, " input"],
    is_valid: Callable[[np.ndarray], np.ndarray],
    expected: str,
    fix: str,
) -> Float[Array, " input"]:
    """`value`, a number or one for each input, as a vector like `like`; checked where it is concrete."""
    array = jnp.asarray(value)
    if array.shape not in ((), (1,), like.shape):
        wanted = f"a number, or one for each of the {like.size} inputs"
        raise invalid(argument, f"an array of shape {array.shape}", wanted, "give one number per input")
    if not isinstance(array, Tracer) and not np.all(is_valid(np.asarray(array))):
        raise invalid(argument, np.asarray(array).tolist(), expected, fix)
    return jnp.broadcast_to(array.astype(like.dtype), like.shape)


def positive(argument: str, value: ArrayLike, like: Float[Array, " input"], fix: str) -> Float[Array, " input"]:
    """`each`, for finite numbers > 0."""
    return each(argument, value, like, lambda x: (x > 0) & np.isfinite(x), "finite numbers > 0", fix)


def between(
    unit: Float[Array, "time input"], low: Float[Array, " input"], high: Float[Array, " input"]
) -> Float[Array, "time input"]:
    """`low + (high - low) unit` for `unit` in [0, 1]; clipped, since rounding may overshoot."""
    return jnp.clip(low + (high - low) * unit, low, high)


def pick(
    is_high: Bool[Array, "time input"], low: Float[Array, " input"], high: Float[Array, " input"]
) -> Float[Array, "time input"]:
    """`high` where true, else `low`."""
    return jnp.where(is_high, high, low)


def clock(time: int, every: int) -> Int[Array, " time"]:
    """The number of the hold interval of every sample: 0 for the first `every` samples, then 1, ..."""
    return jnp.arange(time) // every


def count(time: int, every: int) -> int:
    """The number of hold intervals that have at least one sample."""
    return -(-time // every)
