"""Parameters under transforms, and masks that say what is trained."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, Bool, Float

from ..core import invalid


class AbstractTransform(eqx.Module):
    """A parameter that is trained in other coordinates; `resolve` puts its value in its place."""

    @abstractmethod
    def value(self) -> Float[Array, "..."]:
        """The parameter itself."""


class Positive(AbstractTransform):
    """A positive parameter, trained as its logarithm.

    Args:
        value: where to start, > 0.
    """

    log: Float[Array, "..."]

    def __init__(self, value: ArrayLike):
        value = jnp.asarray(value)
        if not isinstance(value, jax.core.Tracer) and not bool(jnp.all(value > 0)):
            raise invalid("value", value, "positive numbers", "start from a positive guess")
        self.log = jnp.log(value)

    def value(self) -> Float[Array, "..."]:
        """`exp(log)`."""
        return jnp.exp(self.log)


class Bounded(AbstractTransform):
    """A parameter strictly between `low` and `high`, trained through a logistic function.

    Args:
        value: where to start, strictly inside.
        low, high: the bounds, never trained.
    """

    raw: Float[Array, "..."]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(self, value: ArrayLike, low: float, high: float):
        share = (jnp.asarray(value) - low) / (high - low)
        if not isinstance(share, jax.core.Tracer) and not bool(jnp.all((share > 0) & (share < 1))):
            raise invalid("value", value, f"numbers strictly between {low} and {high}", "start inside the bounds")
        self.raw, self.low, self.high = jnp.log(share / (1 - share)), low, high

    def value(self) -> Float[Array, "..."]:
        """`low + (high - low) σ(raw)`."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(self.raw)


class Ranged(AbstractTransform):
    """A parameter believed to lie between `low` and `high`: coordinate -1 at `low`, +1 at `high`, free beyond.

    The coordinate suits random starts (uniform in [-1, 1]) and a Gaussian prior (its square).

    Args:
        coordinate: where to start.
        low, high: the range, never trained.
        is_log: whether the coordinate is linear in the logarithm (for positive parameters of unknown size).
    """

    coordinate: Float[Array, "..."]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    is_log: bool = eqx.field(static=True, default=False)

    def value(self) -> Float[Array, "..."]:
        """The parameter at the coordinate."""
        low, high = (jnp.log(jnp.asarray(v)) for v in (self.low, self.high)) if self.is_log else (self.low, self.high)
        point = 0.5 * (low + high) + 0.5 * (high - low) * self.coordinate
        return jnp.exp(point) if self.is_log else point


def _is_transform(node: Any) -> bool:
    return isinstance(node, AbstractTransform)


def resolve(model: Any) -> Any:
    """`model` with every transformed parameter replaced by its value, as losses and users want to see it."""
    return jtu.tree_map(lambda n: n.value() if _is_transform(n) else n, model, is_leaf=_is_transform)


def partition(model: Any, trainable: Callable[[Any], Any] | Any | None) -> tuple[Any, Any]:
    """The arrays to train, and the rest.

    Args:
        model: any pytree.
        trainable: None for every floating-point array; a function `model -> the parts to train` (as in
            `equinox.tree_at`); or a pytree of booleans, a prefix of the model.
    """
    if trainable is None:
        return eqx.partition(model, eqx.is_inexact_array)
    if callable(trainable):
        nothing = jtu.tree_map(lambda _: False, model)
        mask = eqx.tree_at(trainable, nothing, replace_fn=lambda part: jtu.tree_map(lambda _: True, part))
    else:
        mask = jtu.tree_map(lambda flag, part: jtu.tree_map(lambda _: flag, part), trainable, model)
    both: Bool = jtu.tree_map(lambda flag, leaf: bool(flag) and eqx.is_inexact_array(leaf), mask, model)
    chosen, rest = eqx.partition(model, both)
    if not jtu.tree_leaves(chosen):
        raise invalid("trainable", "no floating-point array", "at least one", "let it select a part with arrays")
    return chosen, rest
