"""Windows of time series."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray

from sciml.core import as_arrays, batch_size, invalid

from ._checks import at_least
from ._epochs import check_batching, draw
from ._source import AbstractSource, Batch


class Windows(AbstractSource):
    """Windows of `length` samples from one or several time series; each epoch visits every window once.

    Window `i` of a series starts at sample `i * stride`; windows overlap if `stride < length`. Samples after
    the last whole window are not used. Windows of a second series follow those of the first.

    Examples:
        ```python
        record = {"u": jnp.arange(100.0), "y": jnp.arange(100.0)}
        source = sciml.sources.Windows(record, length=20, size=4)
        assert source.batch(0, key=jax.random.key(0)).value["u"].shape == (4, 20)
        ```
    """

    data: Any
    length: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    is_stacked: bool = eqx.field(static=True)

    def __init__(self, data: Any, *, length: int, size: int, stride: int | None = None, is_stacked: bool = False):
        """Args:
            data: a record of time series; every leaf has the shape `(time, ...)`.
            length: samples per window, >= 1.
            size: windows per batch, at least 1 and at most their number.
            stride: samples from one window's start to the next, >= 1; None for `length`, windows side by side.
            is_stacked: whether `data` holds several series of one length: every leaf has the shape `(run, time, ...)`.

        Raises:
            ValueError: no common axes, a series shorter than `length`, or a number out of range.
        """
        self.data, self.is_stacked = as_arrays(data), is_stacked
        self.length, self.size = length, size
        self.stride = length if stride is None else stride
        at_least("length", self.length, 1)
        at_least("stride", self.stride, 1)
        time = self._axes()[1]
        if time < length:
            raise invalid("length", length, f"at most {time}, the samples of a series", "shorten the windows")
        check_batching(self.count, size)

    @property
    def count(self) -> int:
        """The number of windows of all series."""
        runs, time = self._axes()
        return runs * ((time - self.length) // self.stride + 1)

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """The `size` windows of a step; leaves have the shape `(size, length, ...)`."""
        index = draw(step, self.count, self.size, key)
        return Batch(self._take(index), index)

    def all(self) -> Any:
        """All windows in order; leaves have the shape `(count, length, ...)`."""
        return self._take(jnp.arange(self.count))

    def _axes(self) -> tuple[int, int]:
        """Number of series, and of samples in each."""
        if not self.is_stacked:
            return 1, batch_size(self.data, "data")
        runs = batch_size(self.data, "data")
        if any(leaf.ndim < 2 for leaf in jtu.tree_leaves(self.data)):
            raise invalid(
                "data", "a leaf with one axis", "leaves (run, time, ...)", "use `is_stacked=False` for one series"
            )
        return runs, batch_size(jtu.tree_map(lambda leaf: leaf[0], self.data), "data")

    def _take(self, index: Int[Array, " batch"]) -> Any:
        per_run = self.count // self._axes()[0]
        run, start = index // per_run, (index % per_run) * self.stride

        def window(leaf: Array, r: Int[Array, ""], s: Int[Array, ""]) -> Array:
            series = leaf if self.is_stacked else leaf[None]
            zeros = [jnp.zeros_like(r)] * (series.ndim - 2)
            return jax.lax.dynamic_slice(series, [r, s, *zeros], (1, self.length, *series.shape[2:]))[0]

        return jtu.tree_map(lambda leaf: jax.vmap(window, in_axes=(None, 0, 0))(leaf, run, start), self.data)
