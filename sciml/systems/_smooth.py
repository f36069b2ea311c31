"""Smooth replacements for functions with infinite or discontinuous derivatives."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def safe_sqrt(x: ArrayLike, width: float = 1e-6) -> Float[Array, "..."]:
    """Square root with a finite slope at and below zero: `x / sqrt(x + width)` for `x > 0`, `x / sqrt(width)` below.

    Use for Bernoulli outflows `sqrt(h)` near an empty tank. The continuation below zero is linear, hence negative:
    a level that an integrator has pushed below zero flows back. Value and slope are continuous.

    Args:
        x: Any shape, in the unit of the quantity.
        width: Where the root is replaced, in the unit of `x`, > 0. For `x >= 0` the error is
            `sqrt(x) - x / sqrt(x + width)`, at most `0.30 sqrt(width)` (at `x = 0.62 width`), relative error
            `width / (2 x)` for large `x`. The largest slope is `1 / sqrt(width)`: 1000 by default.

    Gradient: finite everywhere in both modes, `1 / sqrt(width)` for `x <= 0`.
    """
    x = jnp.asarray(x)
    return x / jnp.sqrt(jnp.maximum(x, 0) + width)


def smooth_max(a: ArrayLike, b: ArrayLike, width: float = 1e-3) -> Float[Array, "..."]:
    """`max(a, b)` rounded: `(a + b + sqrt((a - b)**2 + width**2)) / 2`, above the maximum by at most `width / 2`.

    Args:
        a: Any shape.
        b: A shape that broadcasts against it, the same unit.
        width: Size of the rounded corner in the unit of `a`, > 0.

    Gradient: continuous, between 0 and 1 with respect to each argument.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    return 0.5 * (a + b + jnp.sqrt(jnp.square(a - b) + width**2))


def smooth_min(a: ArrayLike, b: ArrayLike, width: float = 1e-3) -> Float[Array, "..."]:
    """`min(a, b)` rounded: `(a + b - sqrt((a - b)**2 + width**2)) / 2`, below the minimum by at most `width / 2`.

    Arguments and gradient are those of `smooth_max`.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    return 0.5 * (a + b - jnp.sqrt(jnp.square(a - b) + width**2))
