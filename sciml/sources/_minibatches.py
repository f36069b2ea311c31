"""Minibatches of a data set."""

from typing import Any

import equinox as eqx
import jax.tree_util as jtu
from jax.typing import ArrayLike
from jaxtyping import Int, PRNGKeyArray

from sciml.core import as_arrays, batch_size

from ._epochs import check_batching, draw
from ._source import AbstractSource, Batch


class Minibatches(AbstractSource):
    """Random minibatches without replacement: each epoch visits every instance once, in a new order.

    No instance is dropped: where `size` does not divide the number of instances, a batch may end one epoch and begin
    the next. Permutations are computed entry by entry and never stored, so a step is as cheap for a large data set.

    Examples:
        ```python
        source = sciml.sources.Minibatches((jnp.arange(10.0), jnp.arange(10.0) ** 2), size=5)
        key = jax.random.key(0)
        epoch = jnp.concatenate([source.batch(step, key=key).value[0] for step in (0, 1)])
        assert jnp.array_equal(jnp.sort(epoch), jnp.arange(10.0))
        ```
    """

    data: Any
    size: int = eqx.field(static=True)

    def __init__(self, data: Any, size: int):
        """Args:
            data: a record whose leaves have one common leading axis.
            size: instances per batch, at least 1 and at most their number.

        Raises:
            ValueError: no common leading axis, or `size` out of range.
        """
        self.data = as_arrays(data)
        self.size = size
        check_batching(batch_size(self.data, "data"), size)

    @property
    def count(self) -> int:
        """The number of instances."""
        return batch_size(self.data, "data")

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """The `size` instances of a step."""
        index = draw(step, self.count, self.size, key)
        return Batch(jtu.tree_map(lambda leaf: leaf[index], self.data), index)
