"""A multilayer perceptron with residual connections."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key

from ._checks import at_least


class ResMLP(eqx.Module):
    """`h_0 = A x + a`, `h_{i+1} = h_i + V_i σ(W_i h_i + b_i) + c_i`, `y = C h + c`.

    Choose it where `eqx.nn.MLP` becomes too deep to train, from about four hidden layers. It starts as the affine map
    `C A x`, because all `V_i` and `c_i` start at zero, and every block learns a correction.

    Gradient: as smooth as `σ`.

    Source: K. He et al. (2016), *Identity Mappings in Deep Residual Networks*, ECCV, equation 1, without normalisation.

    Examples:
        ```python
        net = sciml.nn.ResMLP(2, 1, width=16, depth=4, key=jax.random.key(0))
        assert net(jnp.ones(2)).shape == (1,)
        ```
    """

    first: eqx.nn.Linear
    blocks: tuple[eqx.nn.MLP, ...]
    last: eqx.nn.Linear

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int,
        depth: int,
        activation: Callable = jax.nn.gelu,
        key: PRNGKeyArray,
    ):
        """Args:
            in_size: entries of the input, >= 1.
            out_size: entries of the output, >= 1.
            width: units of each hidden layer, >= 1.
            depth: number of blocks, >= 0, with one hidden layer each.
            activation: `σ`.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: a size below its minimum.
            TypeError: `key` is none.
        """
        sizes = {"in_size": (in_size, 1), "out_size": (out_size, 1), "width": (width, 1), "depth": (depth, 0)}
        for argument, (got, least) in sizes.items():
            at_least(argument, got, least)
        check_key(key)
        first, last, *keys = jr.split(key, depth + 2)
        self.first, self.last = eqx.nn.Linear(in_size, width, key=first), eqx.nn.Linear(width, out_size, key=last)
        blocks = [eqx.nn.MLP(width, width, width, 1, activation, key=k) for k in keys]
        outer = lambda block: (block.layers[-1].weight, block.layers[-1].bias)
        self.blocks = tuple(eqx.tree_at(outer, block, replace_fn=jnp.zeros_like) for block in blocks)

    def __call__(self, x: Float[Array, " in"], *, key: Any = None) -> Float[Array, " out"]:
        """The output for one instance; `key` is not used."""
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)
