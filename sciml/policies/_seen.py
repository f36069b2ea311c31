"""What a network sees of a state and an exogenous signal: one vector, centred and scaled."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from sciml.core import invalid
from sciml.nn._squash import constant, numbers


class Seen(eqx.Module):
    """`v = ((x, w) - center) / scale`, flattened."""

    treedef: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    center: tuple[float, ...] | None
    scale: tuple[float, ...] | None

    def __init__(self, x: Any, w: Any, center: Any, scale: Any):
        """A state and a signal of the structures and shapes to come, and their centre and scale.

        Raises:
            ValueError: nothing to see, a centre or a scale that does not broadcast, `scale <= 0`.
        """
        leaves, self.treedef = jtu.tree_flatten((x, w))
        self.shapes = tuple(tuple(int(n) for n in jnp.shape(leaf)) for leaf in leaves)
        if self.size == 0:
            raise invalid("x, w", f"{self.treedef} without entries", "at least one entry", "pass an example of each")
        self.center, self.scale = self._spread(center, "center"), self._spread(scale, "scale")
        if self.scale is not None and min(self.scale) <= 0:
            raise invalid("scale", min(self.scale), "numbers > 0", "give 1 to a constant entry")

    @property
    def size(self) -> int:
        """The number of entries."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def __call__(self, x: Any, w: Any, like: Array) -> Float[Array, " n"]:
        """The vector, in the dtype of `like`.

        Raises:
            ValueError: another structure or other shapes.
        """
        leaves, treedef = jtu.tree_flatten((x, w))
        shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        if treedef != self.treedef or shapes != self.shapes:
            got, expected = f"{treedef} of shapes {shapes}", f"{self.treedef} of shapes {self.shapes}"
            fix = "build the policy from examples of what it will see: a window of `previews` is another signal"
            raise invalid("x, w", got, expected, fix)
        v = jnp.concatenate([jnp.ravel(jnp.asarray(leaf, like.dtype)) for leaf in leaves])
        if self.center is not None:
            v = v - constant(self.center, v)
        return v if self.scale is None else v / constant(self.scale, v)

    def _spread(self, value: Any, argument: str) -> tuple[float, ...] | None:
        """One number for each entry, from one for all, or from a prefix of `(x, w)` whose leaves broadcast."""
        if value is None:
            return None
        like = jtu.tree_unflatten(self.treedef, [np.zeros(shape) for shape in self.shapes])

        def over(one: Any, part: Any) -> Any:
            return jtu.tree_map(lambda leaf: np.broadcast_to(np.asarray(one, float), leaf.shape), part)

        try:
            full = jtu.tree_map(over, value, like)
        except (ValueError, TypeError) as error:
            fix = "give one number, or a pair for (x, w) of numbers, arrays or records"
            expected = f"a prefix of {self.treedef} that broadcasts to the shapes {self.shapes}"
            raise invalid(argument, repr(value), expected, fix) from error
        return numbers(full, self.size, argument)
