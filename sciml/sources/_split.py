"""Division of a data set into parts."""

import math
from collections.abc import Sequence
from typing import Any

import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import PRNGKeyArray

from sciml.core import as_arrays, batch_size, invalid


def split(data: Any, fractions: Sequence[float], *, key: PRNGKeyArray | None = None) -> tuple[Any, ...]:
    """Splits `data` along the leading axis into disjoint parts that together hold every instance once.

    Args:
        data: a record whose leaves have one common leading axis.
        fractions: the share of each part, > 0, with sum 1; ends of parts are rounded to whole instances.
        key: assigns instances at random; None gives contiguous blocks in order, as time series need.

    Returns:
        As many records as there are fractions.

    Raises:
        ValueError: no common leading axis, fractions that are not positive or do not sum to 1, or an empty part.
    """
    data = as_arrays(data)
    count = batch_size(data, "data")
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, rel_tol=1e-6):
        raise invalid(
            "fractions", tuple(fractions), "positive shares with sum 1", "write for instance (0.7, 0.15, 0.15)"
        )
    ends = [round(count * sum(fractions[: i + 1])) for i in range(len(fractions))]
    starts = [0, *ends[:-1]]
    if any(a == b for a, b in zip(starts, ends, strict=True)):
        sizes = [b - a for a, b in zip(starts, ends, strict=True)]
        raise invalid(
            "fractions", f"parts of sizes {sizes}", "at least one instance in each", "increase the smallest share"
        )
    if key is not None:
        order = jr.permutation(key, count)
        data = jtu.tree_map(lambda leaf: leaf[order], data)
    return tuple(_block(data, a, b) for a, b in zip(starts, ends, strict=True))


def _block(data: Any, start: int, stop: int) -> Any:
    return jtu.tree_map(lambda leaf: leaf[start:stop], data)
