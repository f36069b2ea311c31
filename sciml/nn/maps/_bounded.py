"""Matrices whose singular values lie in an interval."""

import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._abstract import AbstractMap, between, check_interval, start
from ._householder import reflections


class BoundedSingularValues(AbstractMap):
    """`W = U diag(σ) Vᵀ` with orthogonal `U` and `V` and all `σ` in `[lower, upper]`.

    Choose it for the linear part of a discrete-time model: with `upper <= 1` no state grows, because
    `‖W x‖ <= upper ‖x‖`, and eigenvalues of a square `W` have moduli in `[lower, upper]`. With
    `lower > 0` it is invertible.

    The bounds are Python floats: they are saved with the map, and no optimiser changes them.

    Gradient: smooth in all parameters; it fades where a singular value comes close to a bound.

    Source: J. Zhang, Q. Lei & I. Dhillon (2018), *Stabilizing Gradients for Deep Neural Networks via Efficient SVD
    Parameterization*, ICML, with a sigmoid on the singular values.

    Examples:
        ```python
        step = sciml.nn.maps.BoundedSingularValues(3, 3, lower=0.1, upper=0.99, key=jax.random.key(0))
        assert jnp.linalg.norm(step.matrix(), 2) < 0.9901
        ```
    """

    left: Float[Array, "out out"]
    """Reflection vectors of `U`."""
    right: Float[Array, "in in"]
    """Reflection vectors of `V`."""
    raw: Float[Array, " rank"]
    """Singular values before the sigmoid; `rank = min(out, in)`."""
    bias: Float[Array, " out"] | None
    lower: float
    upper: float

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        lower: float,
        upper: float,
        use_bias: bool = False,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: entries of the input, >= 1.
            out_size: entries of the output, >= 1.
            lower: least singular value, >= 0.
            upper: largest singular value, > `lower`.
            use_bias: whether a constant is added.
            key: source of the initial parameters; singular values start about the middle.

        Raises:
            ValueError: a size below 1, or not `0 <= lower < upper`.
            TypeError: `key` is none.
        """
        self.bias = start({"in_size": in_size, "out_size": out_size}, use_bias, key)
        check_interval(lower, upper, 0.0)
        left, right, raw = jr.split(key, 3)
        self.left, self.right = jr.normal(left, (out_size, out_size)), jr.normal(right, (in_size, in_size))
        self.raw = jr.normal(raw, (min(in_size, out_size),))
        self.lower, self.upper = float(lower), float(upper)

    def singular_values(self) -> Float[Array, " rank"]:
        """`σ = lower + (upper - lower) sigmoid(raw)`, in no order."""
        return between(self.lower, self.upper, self.raw)

    def matrix(self) -> Float[Array, "out in"]:
        """`U diag(σ) Vᵀ`."""
        rank = self.raw.size
        U, V = reflections(self.left)[:, :rank], reflections(self.right)[:, :rank]
        return (U * self.singular_values()) @ V.T
