"""Matrices whose eigenvalues lie in a disc."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import number
from ._abstract import AbstractMap, check_interval, start


class Gershgorin(AbstractMap):
    """`W = c I + r D`, where absolute values in each row of `D` sum to less than 1: `|λ - c| < r` for all eigenvalues.

    `[lower, upper] = [c - r, c + r]` is the part of the disc on the real axis. Choose `lower = -1`, `upper = 1` for a
    discrete-time map that contracts in the maximum norm, and `upper = 0` for a stable continuous-time one. It needs no
    factorisation, and is the only one of these maps for a half-plane; it reaches few matrices with large entries
    beside the diagonal.

    The bounds are Python floats: they are saved with the map, and no optimiser changes them.

    Gradient: smooth in the parameters, except where one of them is zero.

    Source: S. Gershgorin (1931); R. A. Horn & C. R. Johnson (2013), *Matrix Analysis*, theorem 6.1.1; in learned
    dynamics J. Drgona et al. (2020), arXiv:2011.13492, of which this is a variant.

    Examples:
        ```python
        field = sciml.nn.maps.Gershgorin(3, lower=-4.0, upper=0.0, key=jax.random.key(0))
        assert jnp.linalg.eigvals(field.matrix()).real.max() < 0.0
        ```
    """

    raw: Float[Array, "n n"]
    """`D` before rows `t` are scaled: `t / (1 + Σ|t|)`."""
    bias: Float[Array, " n"] | None
    lower: float
    upper: float

    def __init__(self, size: int, *, lower: float, upper: float, use_bias: bool = False, key: PRNGKeyArray):
        """Args:
            size: entries of input and output, >= 1.
            lower: least real number in the disc.
            upper: largest real number in the disc, > `lower`.
            use_bias: whether a constant is added.
            key: source of the initial parameters.

        Raises:
            ValueError: a size below 1, or not `lower < upper`.
            TypeError: `key` is none.
        """
        self.bias = start({"size": size}, use_bias, key)
        check_interval(lower, upper)
        self.raw = jr.normal(key, (size, size)) / size
        self.lower, self.upper = float(lower), float(upper)

    def matrix(self) -> Float[Array, "n n"]:
        """`c I + r D`."""
        low, high = number(self.lower, self.raw), number(self.upper, self.raw)
        D = self.raw / (1 + jnp.sum(jnp.abs(self.raw), axis=1, keepdims=True))
        eye = jnp.eye(self.raw.shape[0], dtype=self.raw.dtype)
        return (low + high) / 2 * eye + (high - low) / 2 * D
