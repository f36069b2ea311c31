"""What a source is: a pure function from a step number to a batch."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray


class Batch(eqx.Module):
    """Some instances, and which ones they are."""

    value: Any
    """A record whose leaves have a leading axis `batch`."""
    index: Int[Array, " batch"]
    """The number of each instance, `0 <= index < count`; -1 for a fresh sample, which has no identity."""


class AbstractSource(eqx.Module):
    """A stream of batches, drawn inside a compiled loop.

    The protocol: `batch` is called with `step = 0, 1, 2, ...` (possibly traced) and with *one* base key that stays the
    same over all steps. What is random at a step comes from `jax.random.fold_in(key, step)`, and what is random in an
    epoch from `fold_in(key, epoch)`. A source thus carries no state: a run that resumes at a step sees the same
    batches, and any step can be drawn by itself.
    """

    @property
    @abstractmethod
    def count(self) -> int | None:
        """Number of distinct instances; None for fresh samples without identity."""

    @abstractmethod
    def all(self) -> Any:
        """Every instance once, stacked in order; None for fresh samples without end."""

    @abstractmethod
    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """The batch of a step.

        Args:
            step: number of the step, >= 0; may be traced.
            key: the base key, the same at every step.
        """
