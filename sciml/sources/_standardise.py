"""Scaling of data to mean zero and standard deviation one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Float

from sciml.core import as_floats, batch_size, invalid


class Standardiser(eqx.Module):
    """The affine map `x -> (x - mean) / scale` of a record, and its inverse; made by `standardise`."""

    mean: Any
    """A record like one instance."""
    scale: Any
    """A record like one instance, > 0."""

    def apply(self, data: Any) -> Any:
        """`(data - mean) / scale` for one instance or, by a leading axis, for many.

        Raises:
            ValueError: a record of another structure.
        """
        return self._map(lambda x, mean, scale: (x - mean) / scale, data)

    def invert(self, data: Any) -> Any:
        """`data * scale + mean`, the inverse of `apply`.

        Raises:
            ValueError: a record of another structure.
        """
        return self._map(lambda x, mean, scale: x * scale + mean, data)

    def _map(self, function: Any, data: Any) -> Any:
        data = as_floats(data, "data")
        got, expected = jtu.tree_structure(data), jtu.tree_structure(self.mean)
        if got != expected:
            raise invalid("data", got, expected, "pass a record like the one given to `standardise`")

        def each(x: Array, mean: Array, scale: Array) -> Array:
            return function(x, mean.astype(x.dtype), scale.astype(x.dtype))

        return jtu.tree_map(each, data, self.mean, self.scale)


def standardise(data: Any) -> Standardiser:
    """The affine map that scales every entry of `data` to mean zero and standard deviation one.

    Args:
        data: a record whose leaves have one common leading axis; finite. Use the training part only.

    Returns:
        The map that gives `data` mean 0 and standard deviation 1 in every entry; constant entries are only shifted
        (`scale` 1).

    Raises:
        ValueError: no common leading axis, or NaN or infinity in `data`.
    """
    data = as_floats(data, "data")
    batch_size(data, "data")
    for path, leaf in jtu.tree_leaves_with_path(data):
        if not isinstance(leaf, Tracer) and not bool(jnp.all(jnp.isfinite(leaf))):
            raise invalid(
                f"data{jtu.keystr(path)}", "NaN or infinity", "finite numbers", "remove the rows that hold them"
            )
    return Standardiser(jtu.tree_map(lambda x: jnp.mean(x, axis=0), data), jtu.tree_map(_scale, data))


def _scale(x: Float[Array, " batch *shape"]) -> Float[Array, " *shape"]:
    # Exactly constant, rather than "small deviation": rounding gives a constant column a deviation above zero.
    is_constant = jnp.max(x, axis=0) == jnp.min(x, axis=0)
    return jnp.where(is_constant, 1, jnp.std(x, axis=0))
