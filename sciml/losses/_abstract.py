"""What a loss is: a scalar from a model and a batch, with structure that a method may exploit."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, Scalar

from ..sources import AbstractSource, Batch


class Report(eqx.Module):
    """What an evaluation tells besides its value. Carries no derivatives."""

    failed: Scalar
    """Fraction of the batch's instances whose loss was not finite; they are left out of the mean."""


class AbstractLoss(eqx.Module):
    """A loss with memory. Losses are written per instance and `vmap` inside.

    A plain function `(model, batch) -> scalar` is a loss as well; `fit` takes both.
    """

    @abstractmethod
    def init(self, model: Any, source: AbstractSource) -> Any:
        """The memory before the first step (multipliers, for instance); None for a loss without memory."""

    @abstractmethod
    def evaluate(self, model: Any, batch: Batch, state: Any, *, key: PRNGKeyArray) -> tuple[Scalar, Any, Report]:
        """The value for a batch, the next memory, and a report."""

    def __call__(self, model: Any, batch: Any) -> Scalar:
        """The value on stacked instances, for monitors and figures; a loss with memory starts afresh."""
        raise NotImplementedError(f"{type(self).__name__} needs its memory: call `evaluate`.")


def mean_of_finite(values: Any, threshold: float) -> tuple[Scalar, Report]:
    """The mean over instances whose value is finite, and the fraction that is not.

    Above `threshold` the mean is NaN on purpose: `fit` then stops with `RESULTS.diverged`, since a mean over the few
    survivors would hide the failures.
    """
    finite = jnp.isfinite(values)
    count = jnp.sum(finite).astype(values.dtype)
    mean = jnp.sum(jnp.where(finite, values, 0.0)) / jnp.maximum(count, 1.0)
    failed = 1.0 - count / max(values.shape[0], 1)
    return jnp.where(failed <= threshold, mean, jnp.nan), Report(failed)
