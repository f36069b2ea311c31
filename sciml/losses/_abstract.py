"""The interface of losses, and means over instances of which some may fail."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from ..core import stop_gradient
from ..sources import AbstractSource, Batch


class Report(eqx.Module):
    """What an evaluation reports besides its value; carries no derivatives."""

    failed: Scalar
    """Fraction of the batch's instances whose loss was not finite; they are left out of the mean."""


class AbstractLoss(eqx.Module):
    """A loss that may have a memory, such as multipliers; subclass it for a loss of your own.

    A plain function `(model, batch) -> scalar` is a loss as well; `fit` accepts both.
    """

    @abstractmethod
    def init(self, model: Any, source: AbstractSource) -> Any:
        """The initial memory, for instance multipliers; None for a loss without memory."""

    @abstractmethod
    def evaluate(self, model: Any, batch: Batch, state: Any, *, key: PRNGKeyArray) -> tuple[Scalar, Any, Report]:
        """The value for a batch, the next memory, and a report."""

    @abstractmethod
    def __call__(self, model: Any, batch: Any) -> Scalar:
        """The value on stacked instances, for monitors and figures, with the initial memory."""


def finite_or_nan(function: Callable[[Any, Any], tuple[Any, Any]], fixed: Any, instances: Any) -> tuple[Any, Any]:
    """`(value, aux)` of every instance, with NaN for a value that is not finite, and no derivative there.

    Masking the value alone is not enough: zero times the NaN derivative of a failed instance is NaN, which would reach
    every parameter. So failed instances are found by a first pass without derivatives, and the second pass puts a sound
    one in their place.

    Args:
        function: `(fixed, one instance) -> (scalar, aux)`.
        fixed: what all instances share.
        instances: a pytree with a leading axis, the instance.
    """
    first, _ = jax.vmap(lambda one: function(stop_gradient(fixed), one))(stop_gradient(instances))
    sound = jnp.isfinite(first)
    values, aux = jax.vmap(lambda one: function(fixed, one))(put_sound(sound, instances))
    return jnp.where(sound, values, jnp.nan), aux


def put_sound(sound: Bool[Array, " batch"], instances: Any) -> Any:
    """`instances` with those that are not sound replaced by the first one that is."""
    first = jnp.argmax(sound)
    where = lambda x: jnp.where(sound.reshape(-1, *[1] * (x.ndim - 1)), x, x[first])
    return jtu.tree_map(lambda x: where(x) if eqx.is_array(x) else x, instances)


def is_without_nan(instances: Any) -> Bool[Array, " batch"]:
    """Whether each instance is free of NaN."""
    leaves = [x for x in jtu.tree_leaves(instances) if eqx.is_array(x)]
    clean = [jnp.all(x == x, axis=tuple(range(1, x.ndim))) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(clean), axis=0) if clean else jnp.ones(leaves[0].shape[0], bool)


def mean_of_finite(values: Float[Array, " batch"], threshold: float) -> tuple[Scalar, Report]:
    """The mean over the instances with a finite value, and the fraction of the others.

    Above `threshold` the mean is NaN on purpose: `fit` then stops with `RESULTS.diverged`, since a mean over the few
    survivors would hide the failures.
    """
    finite = jnp.isfinite(values)
    count = jnp.sum(finite).astype(values.dtype)
    mean = jnp.sum(jnp.where(finite, values, 0.0)) / jnp.maximum(count, 1.0)
    failed = jnp.mean((~finite).astype(values.dtype))  # `1 - count / n` would not be 0 to the last bit
    return jnp.where(failed <= threshold, mean, jnp.nan), Report(failed)
