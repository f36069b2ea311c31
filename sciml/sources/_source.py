"""The interface of a source: a pure function from the number of a step to a batch."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray


class Batch(eqx.Module):
    """A batch of instances, with the index of each one in the source."""

    value: Any
    """A record whose leaves have a leading axis `batch`."""
    index: Int[Array, " batch"]
    """The number of each instance, `0 <= index < count`; -1 for a fresh sample, which has no identity."""


class AbstractSource(eqx.Module):
    """A stream of batches, drawn inside a compiled loop; subclass it for a source of your own.

    `fit` calls `batch` with `step = 0, 1, 2, ...` (possibly traced) and with *one* base key for all steps. Derive the
    randomness of a step from `jax.random.fold_in(key, step)`, and that of an epoch from `fold_in(key, epoch)`. A source
    then needs no state: a resumed run sees the same batches, and any step can be drawn by itself.
    """

    @property
    @abstractmethod
    def count(self) -> int | None:
        """The number of distinct instances; None if every instance is new."""

    @abstractmethod
    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """The batch of a step.

        Args:
            step: number of the step, >= 0; may be traced.
            key: the base key, the same at every step.
        """
