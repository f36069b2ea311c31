"""`solve_batch`: the engine above `vmap` for many instances, run from the host."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PRNGKeyArray

from ..core import as_arrays, as_floats, batch_size, invalid, is_successful, progress_bar, slice_batch, Solution
from ..programs import Program
from ._abstract import AbstractSolver
from ._solve import solve


class Retry(eqx.Module):
    """How to try failed instances again, from other starts.

    Args:
        start: `(z0, p, key) -> z0`, another start for one instance.
        key: randomness of the starts; attempt and instance are folded in.
        attempts: how often at most.
    """

    start: Callable[[Any, Any, PRNGKeyArray], Any]
    key: PRNGKeyArray
    attempts: int = 3


def solve_batch(
    program: Program,
    solver: AbstractSolver,
    z0s: Any,
    ps: Any,
    *,
    in_axes: Any = 0,
    chunk: int | None = None,
    retry: Retry | None = None,
    warm: Any = None,
    max_steps: int = 256,
    progress: bool = True,
) -> Solution:
    """Solutions of `program` for a whole batch of instances, in chunks of one compiled shape.

    The same answers as `jax.vmap` of `solve`; use it from the host (not inside `jit` or `vmap`) when the batch is too
    large for one call, when failures should be tried again, or to see progress. It never raises for a failed instance:
    look at `result`.

    Args:
        program: objective, constraints and bounds.
        solver: how, for instance `InteriorPoint()`.
        z0s: starts, leading axis `batch` on every leaf.
        ps: instances; leaves with `in_axes` 0 have the leading axis `batch`, those with None are shared and not copied.
        in_axes: 0 or None for all of `ps`, or a prefix of it.
        chunk: instances solved at once; default all. The last chunk is padded, so there is one compilation.
        retry: try failed instances again from other starts; None for no second attempt.
        warm: `state` of an earlier batched solution, leading axis `batch`.
        max_steps: most iterations for an instance.
        progress: show a bar if there is more than one chunk.

    Returns:
        `Solution` with the leading axis `batch` on every leaf.

    Raises:
        ValueError: if the leading axes of `z0s` and `ps` differ, or `chunk` is not positive.

    Gradient: as `solve`, outside `jit` and `vmap`.
    """
    z0s, ps = as_floats(z0s, "z0s"), as_arrays(ps)
    n = batch_size(z0s, "z0s")
    axes = _spread_axes(in_axes, ps)
    for path, leaf in jtu.tree_leaves_with_path(jtu.tree_map(lambda a, x: x if a == 0 else None, axes, ps)):
        if leaf.shape[:1] != (n,):
            got, expected = f"leading axis of shape {leaf.shape}", f"{n} instances, as `z0s` has"
            raise invalid(f"ps{jtu.keystr(path)}", got, expected, "stack the instances, or give `in_axes=None` for it")
    width = n if chunk is None else min(chunk, n)
    if width < 1:
        raise invalid("chunk", chunk, "a positive number of instances", "leave it None to solve all at once")

    def run(z0s: Any, ps: Any, warm: Any) -> Solution:
        return _vmapped(program, solver, z0s, ps, axes, warm, max_steps)

    solution = _in_chunks(run, (z0s, ps, warm), axes, width, progress)
    for attempt in range(0 if retry is None else retry.attempts):
        assert retry is not None
        failed = np.flatnonzero(~np.asarray(is_successful(solution.result)))
        if failed.size == 0:
            break
        again = failed[np.arange(width * math.ceil(failed.size / width)) % failed.size]
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(retry.key, attempt), i))(jnp.asarray(again))
        some_z, some_p = jtu.tree_map(lambda x: x[again], z0s), _take(ps, axes, again)
        starts = _restart(retry.start, some_z, some_p, axes, keys)
        better = _in_chunks(run, (starts, some_p, None), axes, width, progress=False)
        solution = _merge(solution, better, again[: failed.size])
    return solution


@eqx.filter_jit
def _vmapped(
    program: Program, solver: AbstractSolver, z0s: Any, ps: Any, axes: Any, warm: Any, max_steps: int
) -> Solution:
    one = lambda z0, p, w: solve(program, solver, z0, p, warm=w, max_steps=max_steps, throw=False)
    return jax.vmap(one, in_axes=(0, axes, 0))(z0s, ps, warm)


@eqx.filter_jit
def _restart(start: Callable[[Any, Any, PRNGKeyArray], Any], z0s: Any, ps: Any, axes: Any, keys: PRNGKeyArray) -> Any:
    return jax.vmap(start, in_axes=(0, axes, 0))(z0s, ps, keys)


def _in_chunks(run: Callable[..., Solution], data: Any, axes: Any, width: int, progress: bool) -> Solution:
    """Runs chunk by chunk; a short last chunk is padded with its first instance, so that one program serves all."""
    z0s, ps, warm = data
    n = batch_size(z0s, "z0s")
    parts = []
    with progress_bar(math.ceil(n / width), "solve", shown=progress and n > width) as bar:
        for start in range(0, n, width):
            rows = np.minimum(np.arange(start, start + width), n - 1)
            take = lambda tree, rows=rows: jtu.tree_map(lambda x: x[rows], tree)
            whole = n == width
            chunk = data if whole else (take(z0s), _take(ps, axes, rows), take(warm))
            parts.append(slice_batch(run(*chunk), 0, min(width, n - start)))
            bar.update(1)
    return parts[0] if len(parts) == 1 else jtu.tree_map(lambda *xs: jnp.concatenate(xs), *parts)


def _merge(old: Solution, new: Solution, rows: Any) -> Solution:
    """`old` with the instances that succeeded at the second attempt replaced."""
    count = len(rows)
    ok = is_successful(new.result)[:count]

    def put(a: Any, b: Any) -> Any:
        b = b[:count]
        return a.at[rows].set(jnp.where(ok.reshape(-1, *[1] * (b.ndim - 1)), b, a[rows]))

    return jtu.tree_map(put, old, new)


def _spread_axes(in_axes: Any, ps: Any) -> Any:
    """`in_axes`, a prefix of `ps`, for every leaf; None leaves are kept."""
    return jtu.tree_map(
        lambda axis, part: jtu.tree_map(lambda _: axis, part), in_axes, ps, is_leaf=lambda x: x is None
    )


def _take(ps: Any, axes: Any, rows: Any) -> Any:
    return jtu.tree_map(lambda x, a: x if a is None else x[rows], ps, _as_leaves(axes, ps))


def _as_leaves(axes: Any, ps: Any) -> Any:
    return jtu.tree_unflatten(jtu.tree_structure(ps), jtu.tree_leaves(axes, is_leaf=lambda x: x is None))
