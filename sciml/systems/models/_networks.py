"""Networks that start as nothing, and the concatenation of state and input that all models share."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def zero_network(
    in_size: int, out_size: int, width: int, depth: int, activation: Callable[[Array], Array], key: PRNGKeyArray
) -> eqx.nn.MLP:
    """A multilayer perceptron whose last layer is zero, so that a model starts as what the network is added to."""
    network = eqx.nn.MLP(in_size, out_size, width, depth, activation, key=key)
    last = lambda mlp: (mlp.layers[-1].weight, mlp.layers[-1].bias)
    return eqx.tree_at(last, network, jax.tree.map(jnp.zeros_like, last(network)))


def joined(x: Float[Array, " x"], u: Any) -> Float[Array, " xu"]:
    """State and input as one vector; the state alone without an input."""
    return x if u is None else jnp.concatenate([x, u])
