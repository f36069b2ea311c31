"""What all structured linear maps have in common."""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from .._checks import at_least, number


class AbstractMap(eqx.Module):
    """`y = W x + b`, where the matrix `W` is a function of the parameters that gives it a property."""

    bias: eqx.AbstractVar[Float[Array, " out"] | None]

    @abstractmethod
    def matrix(self) -> Float[Array, "out in"]:
        """The matrix `W`, differentiable in the parameters."""

    def linear(self) -> eqx.nn.Linear:
        """The layer with the matrix as its weight.

        A call of the map computes its matrix, in every step of a rollout too. Call this once before the loop, inside
        the function that is differentiated: gradients pass.
        """
        weight = self.matrix()
        layer = eqx.filter_eval_shape(_linear, weight.shape, self.bias is not None)
        layer = eqx.tree_at(lambda layer: layer.weight, layer, weight)
        return layer if self.bias is None else eqx.tree_at(lambda layer: layer.bias, layer, self.bias)

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " out"]:
        """`W x + b` for one instance; `key` is not used, so that the map can stand in `eqx.nn.Sequential`."""
        y = self.matrix() @ x
        return y if self.bias is None else y + self.bias


def _linear(shape: tuple[int, int], use_bias: bool) -> eqx.nn.Linear:
    return eqx.nn.Linear(shape[1], shape[0], use_bias=use_bias, key=jnp.zeros(2, jnp.uint32))  # of shapes only


def start(sizes: dict[str, int], use_bias: bool, key: PRNGKeyArray) -> Float[Array, " out"] | None:
    """Checks sizes and key; the initial bias, zero, whose length is the last of `sizes`."""
    for argument, got in sizes.items():
        at_least(argument, got, 1)
    check_key(key)
    return jnp.zeros(list(sizes.values())[-1]) if use_bias else None


def check_interval(lower: float, upper: float, least: float = -math.inf) -> None:
    """Raises unless `least <= lower < upper` and both are finite."""
    if not (math.isfinite(lower) and math.isfinite(upper) and least <= lower < upper):
        expected = "finite lower < upper" if least == -math.inf else f"finite {least:g} <= lower < upper"
        raise invalid("lower", f"lower {lower} and upper {upper}", expected, "swap or widen the interval")


def between(lower: Any, upper: Any, raw: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`lower + (upper - lower) sigmoid(raw)`, inside the interval for any `raw`."""
    low, high = number(lower, raw), number(upper, raw)
    return low + (high - low) * jax.nn.sigmoid(raw)
