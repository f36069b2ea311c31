"""A source that returns all data at every step."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jax.typing import ArrayLike
from jaxtyping import Int, PRNGKeyArray

from sciml.core import as_arrays, batch_size, invalid

from ._source import AbstractSource, Batch


class Fixed(AbstractSource):
    """A source that returns all data at every step; choose it for least-squares and quasi-Newton methods.

    Examples:
        ```python
        source = sciml.sources.Fixed(jnp.arange(3.0))
        assert source.batch(7, key=None).value.tolist() == [0.0, 1.0, 2.0]
        ```
    """

    data: Any

    def __init__(self, data: Any):
        """Args:
            data: a record of arrays. Where its leaves have one common leading axis, that axis counts instances; other
                data (points inside a domain and on its boundary, for instance) are given to the loss as they are.

        Raises:
            ValueError: no array at all.
        """
        self.data = as_arrays(data)
        if not jtu.tree_leaves(self.data):
            raise invalid("data", "no array", "at least one", "pass the data that the loss is to see")

    @property
    def count(self) -> int | None:
        """Number of instances; None for leaves without a common leading axis."""
        shapes = [jnp.shape(leaf) for leaf in jtu.tree_leaves(self.data)]
        is_common = all(shapes) and len({shape[0] for shape in shapes}) == 1
        return batch_size(self.data, "data") if is_common else None

    def all(self) -> Any:
        """The data."""
        return self.data

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """All instances in order, whatever the step."""
        return Batch(self.data, jnp.arange(self.count or 0))
