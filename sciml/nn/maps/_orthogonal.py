"""Orthogonal matrices."""

import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import at_least
from ._abstract import AbstractMap, start
from ._householder import reflections


class Orthogonal(AbstractMap):
    """`W = H_1 ... H_k`, a product of Householder reflections: `Wᵀ W = I`, all singular values are 1.

    Choose it for recurrent states whose norm must neither grow nor fade, and for rotations of coordinates. With
    `k = size` reflections it reaches every orthogonal matrix of determinant `(-1)^size`, with `k = size - 1` every one
    of the other sign.

    Gradient: smooth in the reflection vectors.

    Source: J. Zhang, Q. Lei & I. Dhillon (2018), *Stabilizing Gradients for Deep Neural Networks via Efficient SVD
    Parameterization*; Z. Mhammedi et al. (2017), arXiv:1612.00188.

    Examples:
        ```python
        rotation = sciml.nn.maps.Orthogonal(4, key=jax.random.key(0))
        W = rotation.matrix()
        assert jnp.allclose(W.T @ W, jnp.eye(4), atol=1e-5)
        ```
    """

    vectors: Float[Array, "n k"]
    """One reflection vector in each column; lengths do not matter."""
    bias: Float[Array, " n"] | None

    def __init__(self, size: int, *, reflections: int | None = None, use_bias: bool = False, key: PRNGKeyArray):
        """Args:
            size: entries of input and output, >= 1.
            reflections: number `k` of factors, >= 1; None for `size`.
            use_bias: whether a constant is added.
            key: source of the initial vectors, which are normal.

        Raises:
            ValueError: a size below 1.
            TypeError: `key` is none.
        """
        self.bias = start({"size": size}, use_bias, key)
        count = size if reflections is None else reflections
        at_least("reflections", count, 1)
        self.vectors = jr.normal(key, (size, count))

    def matrix(self) -> Float[Array, "n n"]:
        """`H_1 ... H_k`."""
        return reflections(self.vectors)
