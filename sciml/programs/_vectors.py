"""Conversion of pytrees to vectors of a given dtype, and back by shapes alone."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array


def vector(tree: Any, dtype: Any) -> Array:
    """All entries of all leaves, as one vector."""
    leaves = [jnp.ravel(jnp.asarray(leaf)).astype(dtype) for leaf in jtu.tree_leaves(tree)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros((0,), dtype)


def unravel(struct: Any) -> Callable[[Any], Any]:
    """The function from a vector to a pytree like `struct`."""
    leaves, treedef = jtu.tree_flatten(struct)

    def back(vector: Array) -> Any:
        parts, start = [], 0
        for leaf in leaves:
            parts.append(vector[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size
        return jtu.tree_unflatten(treedef, parts)

    return back


def as_it_is(x: Any) -> Any:
    """`x` unchanged, for a decision that is already a vector."""
    return x
