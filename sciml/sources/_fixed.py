"""A source that returns all instances at every step."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Int, PRNGKeyArray

from sciml.core import as_arrays, batch_size

from ._source import AbstractSource, Batch


class Fixed(AbstractSource):
    """A source that returns the whole data set at every step; choose it for least-squares and quasi-Newton methods.

    Examples:
        ```python
        source = sciml.sources.Fixed(jnp.arange(3.0))
        assert source.batch(7, key=None).value.tolist() == [0.0, 1.0, 2.0]
        ```
    """

    data: Any

    def __init__(self, data: Any):
        """Args:
            data: a record whose leaves have one common leading axis.

        Raises:
            ValueError: no common leading axis.
        """
        self.data = as_arrays(data)
        batch_size(self.data, "data")

    @property
    def count(self) -> int:
        """The number of instances."""
        return batch_size(self.data, "data")

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """All instances in order, at every step."""
        return Batch(self.data, jnp.arange(self.count))
