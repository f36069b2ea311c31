"""Second attempts for the instances of a batch that failed."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import PRNGKeyArray

from ..core import as_floats, is_successful, Solution


class Retry(eqx.Module):
    """Further attempts for failed instances of `solve_batch`, from other starts.

    Args:
        start: `(z0, p, key) -> z0`, returns another start for one instance.
        key: random key of the starts; attempt and instance are folded in.
        attempts: largest number of further attempts.
    """

    start: Callable[[Any, Any, PRNGKeyArray], Any]
    key: PRNGKeyArray
    attempts: int = 3

    def restart(self, z0s: Any, mapped: Any, shared: Any, attempt: int, rows: Any) -> Any:
        """New starts for the instances `rows`; each attempt and instance has its own key, whatever the chunks."""

        def one(z0: Any, part: Any, row: Any) -> Any:
            return self.start(z0, eqx.combine(part, shared), jr.fold_in(jr.fold_in(self.key, attempt), row))

        return as_floats(jax.vmap(one)(z0s, mapped, jnp.asarray(rows)), "retry.start")


def merge(old: Solution, new: Solution, rows: Any) -> Solution:
    """`old` with the instances `rows` that succeeded at another attempt replaced; rows of no instance are left out."""
    ok = is_successful(new.result)

    def put(a: Any, b: Any) -> Any:
        return a.at[rows].set(jnp.where(ok.reshape(-1, *[1] * (b.ndim - 1)), b, a[rows]), mode="drop")

    return jtu.tree_map(put, old, new)
