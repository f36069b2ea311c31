"""`solve_batch`: the solutions of a program at many instances, from the host."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jax.sharding import Mesh

from ..core import (
    as_arrays,
    as_floats,
    batch_size,
    invalid,
    is_successful,
    progress_bar,
    slice_batch,
    Solution,
    stop_gradient,
)
from ..programs import AbstractProgram
from ._abstract import AbstractSolver, check_guess
from ._adjoint import KKTAdjoint
from ._retry import merge, Retry
from ._slots import Job, Known, on_devices, through_slots
from ._solve import solve

_SLOTS = 128  # in work at once by default: enough to hide what a pass costs by itself, few enough to wait for
_WIDE, _NARROWER = 512, 8  # from so many slots on, the last instances are finished in fewer: one more compilation
_WORTHWHILE = 8  # slots by default for batches of at least so many times their number


def solve_batch(
    program: AbstractProgram,
    solver: AbstractSolver,
    z0s: Any,
    ps: Any,
    *,
    in_axes: Any = 0,
    chunk: int | None = None,
    slots: int | None = None,
    mesh: Mesh | None = None,
    retry: Retry | None = None,
    warm: Any = None,
    max_steps: int = 256,
    progress: bool = True,
) -> Solution:
    """Solutions of `program` at a whole batch of instances, computed from the host.

    Choose it over `jax.vmap` of `solve` if the batch is too large for one call, if some instances take many more
    iterations than the others, if failures should be tried again, or to see progress. The answers are the same up to
    rounding. Call it outside `jit` and `vmap`. It never raises for a failed instance: look at `result`.

    Args:
        program: objective, constraints and bounds.
        solver: the method, for instance `InteriorPoint()`, or `Race(InteriorPoint())` for the better of two starts.
        z0s: starts, with the leading axis `batch` on every leaf.
        ps: instances. Leaves with `in_axes` 0 have the leading axis `batch`. Leaves with None are shared without
            copies, and the solver processes them once.
        in_axes: 0 or None for all of `ps`, or a prefix of it.
        chunk: number of instances on the device at once, to limit memory; default all. The last chunk is padded, so
            there is one compilation.
        slots: number of instances in the loop at once. A waiting instance takes the slot of a finished one, so that
            slow instances do not hold up the rest. Default: 128 on a CPU for chunks of at least eight times as many,
            else plain `vmap`. On an accelerator, an iteration costs the same for one slot as for thousands, so few
            slots lose.
        mesh: devices, along one axis. The batch is divided among them; each has its own `slots` and loops alone.
        retry: how to try failed instances again from other starts; None for no second attempt.
        warm: the `state` of an earlier batched solution; with `Race`, also a batched `Guess`.
        max_steps: largest number of iterations per instance.
        progress: whether to show a progress bar if there is more than one chunk.

    Returns:
        `Solution` with the leading axis `batch` on every leaf.

    Raises:
        TypeError: for the same reasons as `solve`.
        ValueError: if the leading axes of `z0s`, `ps` and `warm` differ, `in_axes` does not fit, `chunk` or `slots` is
            not positive, or `mesh` has more than one axis.

    Gradient: that of `solve`, outside `jit` and `vmap`.

    Examples:
        ```python
        program = sciml.QuadraticProgram(Q=jnp.eye(2), q=lambda p: -p, lower=0.0)
        ps = jnp.array([[1.0, -1.0], [2.0, 3.0]])
        solutions = sciml.solve_batch(program, sciml.solvers.BoxNewton(), jnp.zeros((2, 2)), ps, progress=False)
        assert jnp.allclose(solutions.value, jnp.array([[1.0, 0.0], [2.0, 3.0]]), atol=1e-4)
        ```
    """
    z0s, ps = as_floats(z0s, "z0s"), as_arrays(ps)
    n = batch_size(z0s, "z0s")
    if n == 0:
        raise invalid("z0s", "no instances", "at least one", "check the leading axis of the starts")
    mapped, shared = _split(in_axes, ps)
    _check_axes("ps", mapped, n)
    _check_axes("warm", warm, n)
    check_guess(solver, warm, z0s)
    devices = _check_counts(chunk, slots, mesh)
    width = n if chunk is None else min(chunk, n)
    width += -width % devices
    many = _default_slots(width // devices, mesh is not None) if slots is None else min(slots, width // devices)

    def run(z0s: Any, mapped: Any, warm: Any, count: int) -> Solution:
        job = lambda warm: Job(program, solver, shared, z0s, mapped, warm, max_steps)
        if many is None:
            return _vmapped(job(warm), KKTAdjoint())
        found = _found(
            stop_gradient(job(warm)), jnp.asarray(count), many, many // _NARROWER if many >= _WIDE else 0, mesh
        )
        return _vmapped(job(found), Known())

    solution = _in_chunks(run, (z0s, mapped, warm), n, width, progress)
    for attempt in range(0 if retry is None else retry.attempts):
        assert retry is not None
        failed = np.flatnonzero(~np.asarray(is_successful(solution.result)))
        if failed.size == 0:
            break
        for start in range(0, failed.size, width):
            some = failed[start : start + width]
            # Filled up with the number of no instance: whatever the count, the shape is one.
            rows = np.append(some, np.full(width - some.size, n))
            some_z, some_p = _take((z0s, mapped), np.minimum(rows, n - 1))
            starts = retry.restart(some_z, some_p, shared, attempt, rows)
            solution = merge(solution, run(starts, some_p, None, some.size), rows)
    return solution


@eqx.filter_jit
def _vmapped(job: Job, adjoint: optx.AbstractAdjoint) -> Solution:
    """`solve` for every instance; with `Known`, only what comes after its loop."""

    def one(z0: Any, part: Any, warm: Any) -> Solution:
        p = eqx.combine(part, job.shared)
        return solve(job.program, job.solver, z0, p, warm=warm, max_steps=job.max_steps, adjoint=adjoint, throw=False)

    return jax.vmap(one)(job.z0s, job.mapped, job.warm)


@eqx.filter_jit
def _found(job: Job, count: Any, width: int, tail: int, mesh: Mesh | None) -> Any:
    return through_slots(job, count, width, tail) if mesh is None else on_devices(job, count, width, tail, mesh)


def _default_slots(width: int, is_divided: bool) -> int | None:
    """Slots for so many instances on one device; None for plain `vmap`."""
    if jax.default_backend() == "cpu" and width >= _WORTHWHILE * _SLOTS:
        return _SLOTS
    return width if is_divided else None


def _in_chunks(run: Callable[..., Solution], data: Any, n: int, width: int, progress: bool) -> Solution:
    """Runs chunk by chunk; a short last chunk is padded with its last instance, so that one program serves all."""
    parts = []
    with progress_bar(n, "solve", shown=progress and n > width) as bar:
        for start in range(0, n, width):
            count = min(width, n - start)
            rows = np.minimum(np.arange(start, start + width), n - 1)
            part = run(*(data if n == width else _take(data, rows)), count)
            parts.append(part if count == width else slice_batch(part, 0, count))
            bar.update(count)
    return parts[0] if len(parts) == 1 else jtu.tree_map(lambda *xs: jnp.concatenate(xs), *parts)


def _check_counts(chunk: int | None, slots: int | None, mesh: Mesh | None) -> int:
    """The number of devices, after a look at the arguments that count things."""
    if chunk is not None and chunk < 1:
        raise invalid("chunk", chunk, "a positive number of instances", "leave it out to solve all at once")
    if slots is not None and slots < 1:
        raise invalid("slots", slots, "a positive number of instances", "leave it out to use its default")
    if mesh is not None and len(mesh.axis_names) != 1:
        got, fix = f"axes {mesh.axis_names}", 'make one with `jax.make_mesh((devices,), ("batch",))`'
        raise invalid("mesh", got, "a mesh with one axis, over which the batch is divided", fix)
    return 1 if mesh is None else mesh.size


def _check_axes(argument: str, tree: Any, n: int) -> None:
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if jnp.shape(leaf)[:1] != (n,):
            got, expected = f"shape {jnp.shape(leaf)}", f"a leading axis of {n} instances, as `z0s` has"
            fix = "stack the instances"
            if argument == "ps":
                fix = "give one start for each instance, as a leading axis of `z0s`; what is shared has `in_axes=None`"
            raise invalid(f"{argument}{jtu.keystr(path)}", got, expected, fix)


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
