"""Symmetric, skew-symmetric and positive definite matrices."""

import math

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import invalid

from .._checks import number
from ._abstract import AbstractMap, start


class Symmetric(AbstractMap):
    """`W = (M + Mᵀ)/2`: `W = Wᵀ`, with real eigenvalues of any sign.

    Choose it for gradients of quadratic functions, and for couplings that act equally both ways.

    Gradient: linear in the parameters.

    Examples:
        ```python
        W = sciml.nn.maps.Symmetric(3, key=jax.random.key(0)).matrix()
        assert jnp.array_equal(W, W.T)
        ```
    """

    raw: Float[Array, "n n"]
    """`M`."""
    bias: Float[Array, " n"] | None

    def __init__(self, size: int, *, use_bias: bool = False, key: PRNGKeyArray):
        """Args:
            size: entries of input and output, >= 1.
            use_bias: whether a constant is added.
            key: source of the initial parameters, which are normal with variance 1/`size`.

        Raises:
            ValueError: a size below 1.
            TypeError: `key` is none.
        """
        self.bias = start({"size": size}, use_bias, key)
        self.raw = jr.normal(key, (size, size)) / math.sqrt(size)

    def matrix(self) -> Float[Array, "n n"]:
        """`(M + Mᵀ)/2`."""
        return (self.raw + self.raw.T) / 2


class SkewSymmetric(AbstractMap):
    """`W = (M - Mᵀ)/2`: `W = -Wᵀ`, with imaginary eigenvalues, and `xᵀ W x = 0`.

    Choose it for the interconnection of a Hamiltonian system: `dx/dt = W x` conserves `‖x‖`. Add `-R x` with a
    `PositiveDefinite` `R` for dissipation.

    Gradient: linear in the parameters.

    Examples:
        ```python
        W = sciml.nn.maps.SkewSymmetric(3, key=jax.random.key(0)).matrix()
        assert jnp.array_equal(W, -W.T)
        ```
    """

    raw: Float[Array, "n n"]
    """`M`."""
    bias: Float[Array, " n"] | None

    def __init__(self, size: int, *, use_bias: bool = False, key: PRNGKeyArray):
        """Args:
            size: entries of input and output, >= 1.
            use_bias: whether a constant is added.
            key: source of the initial parameters, which are normal with variance 1/`size`.

        Raises:
            ValueError: a size below 1.
            TypeError: `key` is none.
        """
        self.bias = start({"size": size}, use_bias, key)
        self.raw = jr.normal(key, (size, size)) / math.sqrt(size)

    def matrix(self) -> Float[Array, "n n"]:
        """`(M - Mᵀ)/2`."""
        return (self.raw - self.raw.T) / 2


class PositiveDefinite(AbstractMap):
    """`W = M Mᵀ + floor I`: symmetric, with all eigenvalues >= `floor`.

    Choose it for masses, stiffnesses, dissipation and weights of quadratic costs.

    `floor` is a Python float: it is saved with the map, and no optimiser changes it.

    Gradient: smooth in the parameters.

    Examples:
        ```python
        mass = sciml.nn.maps.PositiveDefinite(3, floor=0.1, key=jax.random.key(0))
        assert jnp.linalg.eigvalsh(mass.matrix()).min() > 0.099
        ```
    """

    raw: Float[Array, "n n"]
    """`M`."""
    bias: Float[Array, " n"] | None
    floor: float

    def __init__(self, size: int, *, floor: float, use_bias: bool = False, key: PRNGKeyArray):
        """Args:
            size: entries of input and output, >= 1.
            floor: least eigenvalue, finite, > 0.
            use_bias: whether a constant is added.
            key: source of the initial parameters, which are normal with variance 1/`size`.

        Raises:
            ValueError: a size below 1, or `floor <= 0`.
            TypeError: `key` is none.
        """
        self.bias = start({"size": size}, use_bias, key)
        if not 0 < floor < math.inf:
            raise invalid("floor", floor, "a finite number > 0", "give the least eigenvalue that the model may have")
        self.raw, self.floor = jr.normal(key, (size, size)) / math.sqrt(size), float(floor)

    def matrix(self) -> Float[Array, "n n"]:
        """`M Mᵀ + floor I`."""
        square = self.raw @ self.raw.T
        # the product of a matrix and its transpose is symmetric up to rounding only
        return (square + square.T) / 2 + number(self.floor, self.raw) * jnp.eye(square.shape[0], dtype=square.dtype)
