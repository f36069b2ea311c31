"""Fresh instances from a distribution."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.typing import ArrayLike
from jaxtyping import Int, PRNGKeyArray

from sciml.core import check_key

from ._checks import at_least
from ._source import AbstractSource, Batch


class Sampled(AbstractSource):
    """Fresh instances at every step, from a sampler `key -> one instance` of any distribution.

    Examples:
        ```python
        source = sciml.sources.Sampled(lambda key: jax.random.normal(key, (3,)), size=64)
        assert source.batch(0, key=jax.random.key(0)).value.shape == (64, 3)
        ```
    """

    sampler: Callable[[PRNGKeyArray], Any]
    size: int = eqx.field(static=True)

    def __init__(self, sampler: Callable[[PRNGKeyArray], Any], size: int):
        """Args:
            sampler: a pure function from a key to one instance, a record of arrays.
            size: instances per batch, >= 1.

        Raises:
            ValueError: `size < 1`.
        """
        at_least("size", size, 1)
        self.sampler, self.size = sampler, size

    @property
    def count(self) -> None:
        """None, because every instance is new."""
        return None

    def all(self) -> None:
        """None: there is no end of samples."""

    def draw(self, n: int, *, key: PRNGKeyArray) -> Any:
        """`n` instances, stacked along a leading axis; use it for validation or for exact solves.

        Args:
            n: number of instances, >= 1.
            key: source of randomness.

        Raises:
            ValueError: `n < 1`.
            TypeError: `key` is none.
        """
        at_least("n", n, 1)
        check_key(key)
        return jax.vmap(self.sampler)(jr.split(key, n))

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """A batch of `size` fresh instances."""
        return Batch(self.draw(self.size, key=jr.fold_in(key, step)), jnp.full((self.size,), -1, dtype=int))
