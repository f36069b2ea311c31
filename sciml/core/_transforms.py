"""Parameters in coordinates of their own."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import Array, Float


class AbstractTransform(eqx.Module):
    """A parameter that is trained in other coordinates; `resolve` replaces it by its value."""

    @abstractmethod
    def value(self) -> Float[Array, "..."]:
        """The value of the parameter."""


def is_transform(node: Any) -> bool:
    """Whether a node of a model is a parameter in coordinates of its own."""
    return isinstance(node, AbstractTransform)


def resolve(model: Any) -> Any:
    """`model` with every transformed parameter replaced by its value."""
    return jtu.tree_map(lambda n: n.value() if is_transform(n) else n, model, is_leaf=is_transform)
