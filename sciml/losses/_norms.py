"""How a violation is turned into a penalty: values, not strings."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike


class AbstractNorm(eqx.Module):
    """A penalty on residuals, entry by entry: zero where nothing is violated."""

    @abstractmethod
    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The penalty of a nonnegative violation (or of an equality residual of either sign)."""


class L1(AbstractNorm):
    """`|v|`: exact for a weight above the multiplier (Nocedal & Wright 2006, theorem 17.3); not smooth at zero."""

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`|v|`."""
        return jnp.abs(residual)


class L2(AbstractNorm):
    """`v²`: smooth, leaves a violation of about multiplier / (2 weight)."""

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`v²`."""
        return residual**2


class Smooth(AbstractNorm):
    """`v²/(2w)` up to `w`, `|v| - w/2` beyond (Huber 1964): nearly exact, and smooth.

    Args:
        width: `w` in the residual's unit, > 0.
    """

    width: ScalarLike = 1e-2

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The Huber function of the residual."""
        size = jnp.abs(residual)
        return jnp.where(size <= self.width, residual**2 / (2 * self.width), size - 0.5 * self.width)
