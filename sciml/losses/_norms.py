"""Penalty functions of a violation."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike


class AbstractNorm(eqx.Module):
    """A penalty function of residuals, entry by entry; zero at zero."""

    @abstractmethod
    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The penalty of a nonnegative violation (or of an equality residual of either sign)."""


class L1(AbstractNorm):
    """The penalty `|v|`: exact for a weight above the multiplier (Nocedal & Wright 2006, theorem 17.3), not smooth."""

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The absolute value of the violation."""
        return jnp.abs(residual)


class L2(AbstractNorm):
    """The penalty `v²`: smooth, but it leaves a violation of about multiplier / (2 weight)."""

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The square of the violation."""
        return residual**2


class Smooth(AbstractNorm):
    """The Huber (1964) penalty `v²/(2w)` up to `w` and `|v| - w/2` beyond: nearly exact, and smooth.

    Args:
        width: `w` in the residual's unit, > 0.
    """

    width: ScalarLike = 1e-2

    def __call__(self, residual: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The Huber function of the residual."""
        size = jnp.abs(residual)
        return jnp.where(size <= self.width, residual**2 / (2 * self.width), size - 0.5 * self.width)
