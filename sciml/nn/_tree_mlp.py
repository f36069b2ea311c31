"""A network between records."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PRNGKeyArray

from sciml.core import invalid

from ._bounded_mlp import BoundedMLP

Shapes = tuple[tuple[int, ...], ...]


class TreeMLP(eqx.Module):
    """A multilayer perceptron `z = net(p)` between records; choose it to learn a solution map.

    Gradient: that of `BoundedMLP`.

    Examples:
        ```python
        p, z = {"a": 0.0, "radius": 0.0}, {"x": 0.0, "y": 0.0}
        net = sciml.nn.TreeMLP(p, z, width=8, depth=2, lower=0.0, key=jax.random.key(0))
        assert net({"a": 1.0, "radius": 2.0})["x"] >= 0.0
        ```
    """

    mlp: BoundedMLP
    in_treedef: Any = eqx.field(static=True)
    in_shapes: Shapes = eqx.field(static=True)
    out_treedef: Any = eqx.field(static=True)
    out_shapes: Shapes = eqx.field(static=True)

    def __init__(
        self,
        in_like: Any,
        out_like: Any,
        *,
        width: int,
        depth: int,
        activation: Callable = jax.nn.gelu,
        lower: Any = None,
        upper: Any = None,
        center: Any = None,
        scale: Any = None,
        key: PRNGKeyArray,
    ):
        """Args:
            in_like: a record of the input's structure and shapes (values are not used).
            out_like: a record of the output's structure and shapes (values are not used).
            width: units of each hidden layer, >= 1.
            depth: number of hidden layers, >= 0.
            activation: function between the layers.
            lower: lower bound of the output, one number or a record like `out_like`; None for no bound.
            upper: upper bound of the output, likewise.
            center: subtracted from the input, one number or a record like `in_like`; None for zero.
            scale: divides the input, likewise, > 0; None for one.
            key: source of the initial weights, which have the default floating-point dtype.

        Raises:
            ValueError: an empty record, or any error of `BoundedMLP`.
        """
        self.in_treedef, self.in_shapes = _describe(in_like, "in_like")
        self.out_treedef, self.out_shapes = _describe(out_like, "out_like")
        self.mlp = BoundedMLP(
            _entries(self.in_shapes),
            _entries(self.out_shapes),
            lower=-np.inf if lower is None else lower,
            upper=np.inf if upper is None else upper,
            width=width,
            depth=depth,
            activation=activation,
            center=center,
            scale=scale,
            key=key,
        )

    def __call__(self, record: Any) -> Any:
        """The output record for one input record.

        Args:
            record: of the structure and shapes of `in_like`; cast to the dtype of the weights.

        Returns:
            A record of the structure and shapes of `out_like`, in the dtype of the weights.

        Raises:
            ValueError: another structure or other shapes.
        """
        leaves, treedef = jtu.tree_flatten(record)
        shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        if treedef != self.in_treedef or shapes != self.in_shapes:
            raise invalid(
                "record",
                f"{treedef} of shapes {shapes}",
                f"{self.in_treedef} of shapes {self.in_shapes}",
                "pass a record like `in_like`, and `jax.vmap` the network over a batch",
            )
        flat = self.mlp(record)
        ends = np.cumsum([_entries((shape,)) for shape in self.out_shapes])
        parts = [part.reshape(shape) for part, shape in zip(jnp.split(flat, ends[:-1]), self.out_shapes, strict=True)]
        return jtu.tree_unflatten(self.out_treedef, parts)


def _describe(like: Any, argument: str) -> tuple[Any, Shapes]:
    leaves, treedef = jtu.tree_flatten(like)
    shapes = tuple(tuple(int(n) for n in jnp.shape(leaf)) for leaf in leaves)
    if _entries(shapes) == 0:
        raise invalid(argument, f"{treedef} without entries", "at least one entry", "pass an example of the record")
    return treedef, shapes


def _entries(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)
