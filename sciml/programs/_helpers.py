"""Constraints written as comparisons, with the sign that a program expects."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def le(a: ArrayLike, b: ArrayLike) -> Float[Array, "*shape"]:
    """The constraint `a <= b`, as the residual `a - b` for `ineq`."""
    return jnp.asarray(a) - jnp.asarray(b)


def ge(a: ArrayLike, b: ArrayLike) -> Float[Array, "*shape"]:
    """The constraint `a >= b`, as the residual `b - a` for `ineq`."""
    return jnp.asarray(b) - jnp.asarray(a)


def between(low: ArrayLike, x: ArrayLike, high: ArrayLike) -> Float[Array, "two *shape"]:
    """The constraint `low <= x <= high`, as the stacked residuals `[low - x, x - high]` for `ineq`."""
    x = jnp.asarray(x)
    below, above = jnp.broadcast_arrays(jnp.asarray(low) - x, x - jnp.asarray(high))
    return jnp.stack([below, above])
