"""Fresh instances from a uniform distribution on a box."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Int, PRNGKeyArray

from sciml.core import as_floats, check_key, invalid

from ._checks import at_least
from ._source import AbstractSource, Batch


class Uniform(AbstractSource):
    """Fresh instances at every step, with independent entries, uniform on `[low, high)`.

    Examples:
        ```python
        source = sciml.sources.Uniform(low={"a": 0.5, "radius": 1.0}, high={"a": 2.0, "radius": 1.5}, size=64)
        ps = source.draw(1000, key=jax.random.key(0))
        assert ps["a"].shape == (1000,) and ps["radius"].max() < 1.5
        ```
    """

    low: Any
    high: Any
    size: int = eqx.field(static=True)

    def __init__(self, low: Any, high: Any, size: int):
        """Args:
            low: a record of lower bounds, finite.
            high: a record of upper bounds of the same structure, shapes and dtypes, finite, `high >= low`; entries
                with `high == low` are constant.
            size: instances per batch, >= 1.

        Raises:
            ValueError: different structures or shapes, `low > high`, an infinite bound, or `size < 1`.
        """
        at_least("size", size, 1)
        self.low, self.high, self.size = as_floats(low, "low"), as_floats(high, "high"), size
        if jtu.tree_structure(self.low) != jtu.tree_structure(self.high):
            got, expected = jtu.tree_structure(self.high), jtu.tree_structure(self.low)
            raise invalid("high", got, f"{expected} as in `low`", "use the same record type for both")
        for (path, a), b in zip(jtu.tree_leaves_with_path(self.low), jtu.tree_leaves(self.high), strict=True):
            _check_interval(jtu.keystr(path), a, b)

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
        lows, treedef = jtu.tree_flatten(self.low)
        keys = jr.split(key, max(len(lows), 1))
        leaves = [
            jr.uniform(k, (n, *a.shape), a.dtype, minval=a, maxval=b)
            for k, a, b in zip(keys, lows, jtu.tree_leaves(self.high), strict=False)
        ]
        return jtu.tree_unflatten(treedef, leaves)

    def batch(self, step: Int[ArrayLike, ""], *, key: PRNGKeyArray) -> Batch:
        """A batch of `size` fresh instances."""
        return Batch(self.draw(self.size, key=jr.fold_in(key, step)), jnp.full((self.size,), -1, dtype=int))


def _check_interval(path: str, low: Any, high: Any) -> None:
    """Refuses bounds of different shapes, and (outside `jit`) infinite or crossed ones."""
    if low.shape != high.shape or low.dtype != high.dtype:
        got, expected = f"{high.dtype} of shape {high.shape}", f"{low.dtype} of shape {low.shape} as in `low`"
        raise invalid(f"high{path}", got, expected, "give one bound per entry")
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    if not bool(jnp.all(jnp.isfinite(low) & jnp.isfinite(high))):
        raise invalid(
            f"low{path}", f"low {low} and high {high}", "finite bounds", "use `Sampled` for another distribution"
        )
    if not bool(jnp.all(low <= high)):
        raise invalid(f"low{path}", f"low {low} and high {high}", "low <= high", "swap the bounds")
