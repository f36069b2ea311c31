"""Constraints written as one says them; the sign comes out right."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def le(a: ArrayLike, b: ArrayLike) -> Float[Array, "*shape"]:
    """`a <= b`, as the residual `a - b`."""
    return jnp.asarray(a) - jnp.asarray(b)


def ge(a: ArrayLike, b: ArrayLike) -> Float[Array, "*shape"]:
    """`a >= b`, as the residual `b - a`."""
    return jnp.asarray(b) - jnp.asarray(a)


def between(low: ArrayLike, x: ArrayLike, high: ArrayLike) -> Float[Array, "two *shape"]:
    """`low <= x <= high`, as the stacked residuals `[low - x, x - high]`."""
    x = jnp.asarray(x)
    below, above = jnp.broadcast_arrays(jnp.asarray(low) - x, x - jnp.asarray(high))
    return jnp.stack([below, above])
