"""Transformed parameters, and the selection of parameters to train."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..core import AbstractTransform, invalid


class Positive(AbstractTransform):
    """A positive parameter, trained as its logarithm.

    Args:
        value: initial value, > 0.
    """

    log: Float[Array, "..."]

    def __init__(self, value: ArrayLike):
        value = jnp.asarray(value)
        if not isinstance(value, Tracer) and not bool(jnp.all(value > 0)):
            raise invalid("value", value, "positive numbers", "start from a positive guess")
        self.log = jnp.log(value)

    def value(self) -> Float[Array, "..."]:
        """The value of the parameter, `exp(log)`."""
        return jnp.exp(self.log)


class Bounded(AbstractTransform):
    """A parameter strictly between `low` and `high`, trained through a logistic function.

    Args:
        value: initial value, strictly inside the bounds.
        low, high: the bounds, never trained.
    """

    raw: Float[Array, "..."]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    def __init__(self, value: ArrayLike, low: float, high: float):
        _check_range(low, high)
        share = (jnp.asarray(value) - low) / (high - low)
        if not isinstance(share, Tracer) and not bool(jnp.all((share > 0) & (share < 1))):
            raise invalid("value", value, f"numbers strictly between {low} and {high}", "start inside the bounds")
        self.raw, self.low, self.high = jnp.log(share / (1 - share)), low, high

    def value(self) -> Float[Array, "..."]:
        """The value of the parameter, `low + (high - low) σ(raw)`."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(self.raw)


class Ranged(AbstractTransform):
    """A parameter expected between `low` and `high`, trained as a coordinate: -1 at `low`, +1 at `high`, free beyond.

    Choose it for random starts (uniform in [-1, 1]) or with a Gaussian prior on the coordinate.

    Args:
        coordinate: initial coordinate.
        low, high: the range, never trained.
        is_log: whether the coordinate is linear in the logarithm (for positive parameters of unknown size).
    """

    coordinate: Float[Array, "..."] = eqx.field(converter=jnp.asarray)
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    is_log: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        _check_range(self.low, self.high)
        if self.is_log and self.low <= 0:
            raise invalid("low", self.low, "a positive number, since the range is logarithmic", "raise `low`")

    def value(self) -> Float[Array, "..."]:
        """The value of the parameter at its coordinate."""
        low, high = (jnp.log(jnp.asarray(v)) for v in (self.low, self.high)) if self.is_log else (self.low, self.high)
        point = 0.5 * (low + high) + 0.5 * (high - low) * self.coordinate
        return jnp.exp(point) if self.is_log else point


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise invalid("low, high", f"{low} and {high}", "low < high", "swap them, or fix the parameter instead")


def partition(model: Any, trainable: Callable[[Any], Any] | Any | None) -> tuple[Any, Any]:
    """Splits a model into the arrays to train and the rest.

    A Python float is a constant, as everywhere in Equinox, unless a function selects that very float: then it is
    trained, as an array.

    Args:
        model: any pytree.
        trainable: None for every floating-point array; a function `model -> the parts to train` (as in
            `equinox.tree_at`); or a pytree of booleans, a prefix of the model.

    Raises:
        ValueError: if the mask has another structure, nothing is left to train, or what is selected by itself cannot
            be trained: an integer, a string, a Python float in a mask.
    """
    model, mask = _requested(model, trainable)
    try:
        is_chosen = lambda flag: lambda leaf: bool(flag) and eqx.is_inexact_array(leaf)
        both = jtu.tree_map(lambda flag, part: jtu.tree_map(is_chosen(flag), part), mask, model)
    except (ValueError, TypeError) as error:
        got, expected = jtu.tree_structure(mask), f"{jtu.tree_structure(model)} or a prefix of it"
        fix = "build the mask by `jax.tree.map` from the model, or select parts by a function"
        raise invalid("trainable", f"the structure {got}", expected, fix) from error
    chosen, rest = eqx.partition(model, both)
    if not jtu.tree_leaves(chosen):
        constants = [f"`model{jtu.keystr(path)}`" for path, x in jtu.tree_leaves_with_path(model) if type(x) is float]
        got = "no floating-point array" + (f"; {', '.join(constants)}: Python float, a constant" if constants else "")
        fix = "let it select a part with arrays, and write parameters as `jnp.asarray(1.0)`, not `1.0`"
        raise invalid("trainable", got, "at least one", fix)
    return chosen, rest


def _requested(model: Any, trainable: Any) -> tuple[Any, Any]:
    """The model with floats that a function selects as arrays, and the mask of what is trained."""
    if trainable is None:
        return model, True
    if not (callable(trainable) and type(trainable) is not type(model)):  # a mask of a callable model is callable too
        _refuse_floats(trainable, model)
        return model, trainable
    nothing = jtu.tree_map(lambda _: False, model)
    by_itself = lambda part: "itself" if isinstance(part, bool) else jtu.tree_map(lambda _: True, part)
    marks = eqx.tree_at(trainable, nothing, replace_fn=by_itself)
    dtypes = {x.dtype for x in jtu.tree_leaves(model) if eqx.is_inexact_array(x)}
    dtype = dtypes.pop() if len(dtypes) == 1 else jnp.zeros(()).dtype

    def array(path: Any, mark: Any, leaf: Any) -> Any:
        if mark != "itself" or eqx.is_inexact_array(leaf):
            return leaf
        if type(leaf) is float:
            return jnp.asarray(leaf, dtype)
        got = f"`model{jtu.keystr(path)}`, a {type(leaf).__name__}" + (
            f" of {leaf.dtype}" if eqx.is_array(leaf) else ""
        )
        raise invalid("trainable", got, "floating-point arrays, or parts with some", "write it as `jnp.asarray(1.0)`")

    model = jtu.tree_map_with_path(array, marks, model)
    return model, jtu.tree_map(bool, marks)


def _refuse_floats(mask: Any, model: Any) -> None:
    """Raises where a mask says True to a Python float by itself."""
    leaves = {jtu.keystr(path): leaf for path, leaf in jtu.tree_leaves_with_path(model)}
    for path, flag in jtu.tree_leaves_with_path(mask):
        name = jtu.keystr(path)
        if path and bool(flag) and type(leaves.get(name)) is float:
            fix = f"select it by a function, `lambda model: model{name}`, which trains it, or write it as an array"
            raise invalid("trainable", f"True for `model{name}`, a Python float", "False, or an array there", fix)
