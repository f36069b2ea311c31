"""Nonnegative matrices whose dominant eigenvalue lies in an interval."""

import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._abstract import AbstractMap, between, check_interval, start


class PerronFrobenius(AbstractMap):
    """`W = diag(s) P` with a row-stochastic `P > 0` and all `s` in `[lower, upper]`.

    All entries are positive, and row sums are `s`. If `W` is square, its eigenvalue of largest modulus is real and lies
    in `[lower, upper]` (Perron and Frobenius: between the least and the largest row sum). Choose it for positive
    systems, such as temperatures of rooms, concentrations or compartments, with `upper < 1` for stability.

    The bounds are Python floats: they are saved with the map, and no optimiser changes them.

    Gradient: smooth in all parameters; it fades where a row sum comes close to a bound.

    Source: E. Skomski et al. (2021), *Constrained Block Nonlinear Neural Dynamical Models*, ACC; A. Tuor, J. Drgona &
    D. Vrabie (2020), arXiv:2004.10883.

    Examples:
        ```python
        step = sciml.nn.maps.PerronFrobenius(3, 3, lower=0.8, upper=1.0, key=jax.random.key(0))
        sums = step.matrix().sum(axis=1)
        assert step.matrix().min() > 0 and 0.8 < sums.min() and sums.max() < 1.0
        ```
    """

    logits: Float[Array, "out in"]
    """`P` before the softmax over each row."""
    raw: Float[Array, " out"]
    """Row sums before the sigmoid."""
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
            lower: least row sum, >= 0.
            upper: largest row sum, > `lower`.
            use_bias: whether a constant is added.
            key: source of the initial parameters.

        Raises:
            ValueError: a size below 1, or not `0 <= lower < upper`.
            TypeError: `key` is none.
        """
        self.bias = start({"in_size": in_size, "out_size": out_size}, use_bias, key)
        check_interval(lower, upper, 0.0)
        logits, raw = jr.split(key)
        self.logits, self.raw = jr.normal(logits, (out_size, in_size)), jr.normal(raw, (out_size,))
        self.lower, self.upper = float(lower), float(upper)

    def matrix(self) -> Float[Array, "out in"]:
        """`diag(s) P`."""
        sums = between(self.lower, self.upper, self.raw)
        return sums[:, None] * jax.nn.softmax(self.logits, axis=1)
