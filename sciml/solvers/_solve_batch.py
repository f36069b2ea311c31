"""`solve_batch`: the engine above `vmap` for many instances, run from the host."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
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
        ValueError: if the leading axes of `z0s` and `ps` differ, `in_axes` does not fit, or `chunk` is not positive.

    Gradient: as `solve`, outside `jit` and `vmap`.
    """
    z0s, ps = as_floats(z0s, "z0s"), as_arrays(ps)
    n = batch_size(z0s, "z0s")
    mapped, shared = _split(in_axes, ps)
    for path, leaf in jtu.tree_leaves_with_path(mapped):
        if leaf.shape[:1] != (n,):
            got, expected = f"shape {leaf.shape}", f"a leading axis of {n} instances, as `z0s` has"
            raise invalid(f"ps{jtu.keystr(path)}", got, expected, "stack the instances, or give `in_axes=None` for it")
    if chunk is not None and chunk < 1:
        raise invalid("chunk", chunk, "a positive number of instances", "leave it None to solve all at once")
    width = n if chunk is None else min(chunk, n)
    run = lambda z0s, mapped, warm: _vmapped(program, solver, z0s, mapped, shared, warm, max_steps)
    solution = _in_chunks(run, (z0s, mapped, warm), n, width, progress)
    for attempt in range(0 if retry is None else retry.attempts):
        assert retry is not None
        failed = np.flatnonzero(~np.asarray(is_successful(solution.result)))
        if failed.size == 0:
            break
        some_z, some_p = _take((z0s, mapped), failed)
        starts = _restart(retry.start, some_z, some_p, shared, retry.key, attempt, failed)
        better = _in_chunks(run, (starts, some_p, None), failed.size, width, progress=False)
        solution = _merge(solution, better, failed)
    return solution


@eqx.filter_jit
def _vmapped(
    program: Program, solver: AbstractSolver, z0s: Any, mapped: Any, shared: Any, warm: Any, max_steps: int
) -> Solution:
    def one(z0: Any, part: Any, warm: Any) -> Solution:
        p = eqx.combine(part, shared)
        return solve(program, solver, z0, p, warm=warm, max_steps=max_steps, throw=False)

    return jax.vmap(one)(z0s, mapped, warm)


def _restart(
    start: Callable[[Any, Any, PRNGKeyArray], Any],
    z0s: Any,
    mapped: Any,
    shared: Any,
    key: PRNGKeyArray,
    attempt: int,
    rows: Any,
) -> Any:
    """New starts for some instances; instance and attempt have their own key, whatever the chunks."""

    def one(z0: Any, part: Any, row: Any) -> Any:
        return start(z0, eqx.combine(part, shared), jr.fold_in(jr.fold_in(key, attempt), row))

    return as_floats(jax.vmap(one)(z0s, mapped, jnp.asarray(rows)), "retry.start")


def _in_chunks(run: Callable[..., Solution], data: Any, n: int, width: int, progress: bool) -> Solution:
    """Runs chunk by chunk; a short last chunk is padded with its last instance, so that one program serves all."""
    parts = []
    with progress_bar(n, "solve", shown=progress and n > width) as bar:
        for start in range(0, n, width):
            count = min(width, n - start)
            rows = np.minimum(np.arange(start, start + width), n - 1)
            parts.append(slice_batch(run(*(data if n == width else _take(data, rows))), 0, count))
            bar.update(count)
    return parts[0] if len(parts) == 1 else jtu.tree_map(lambda *xs: jnp.concatenate(xs), *parts)


def _merge(old: Solution, new: Solution, rows: Any) -> Solution:
    """`old` with the instances that succeeded at another attempt replaced."""
    ok = is_successful(new.result)

    def put(a: Any, b: Any) -> Any:
        return a.at[rows].set(jnp.where(ok.reshape(-1, *[1] * (b.ndim - 1)), b, a[rows]))

    return jtu.tree_map(put, old, new)


def _split(in_axes: Any, ps: Any) -> tuple[Any, Any]:
    """`ps` in two trees of its structure: leaves with a batch axis, and shared leaves."""
    is_none = lambda x: x is None
    chosen = jtu.tree_leaves(in_axes, is_leaf=is_none)
    if any(axis not in (0, None) for axis in chosen):
        raise invalid(
            "in_axes", in_axes, "0 or None for each leaf of `ps`", "move the batch axis of the leaf to the front"
        )
    try:
        spread = lambda axis, part: jtu.tree_map(lambda _: axis == 0, part)
        is_mapped = jtu.tree_map(spread, in_axes, ps, is_leaf=is_none)
    except ValueError as error:
        got, expected = (
            f"the structure {jtu.tree_structure(in_axes)}",
            f"a prefix of that of `ps`, {jtu.tree_structure(ps)}",
        )
        raise invalid("in_axes", got, expected, "give 0 or None for each field of `ps`, or one for all") from error
    return eqx.partition(ps, is_mapped)


def _take(tree: Any, rows: Any) -> Any:
    return jtu.tree_map(lambda x: x[rows], tree)
