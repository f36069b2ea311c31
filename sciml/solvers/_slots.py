"""A batch through a fixed number of slots: what has finished makes room for what waits, inside one compiled loop.

`jax.vmap` of a loop lasts as long as its slowest instance, and every instance pays for every pass. Here only `width`
instances are in work at once. When enough of them have finished, their answers are written down and the next ones
move in; so the cost is that of the *mean* number of iterations and not of the largest:

    load -> step all slots until some are idle -> write down, load the next -> ... -> a narrower tail for the last

Loading is not done in every pass because all slots take part in it (one program for all), needed or not.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from ..core import ravel, stop_gradient, tree_where
from ..programs import AbstractProgram, FlatProgram, flatten
from ._abstract import AbstractSolver, begin
from ._adjoint import KKTAdjoint
from ._outcome import outcome

_IDLE = 8  # load when one slot in this many is idle


class Job(eqx.Module):
    """A batch of instances as the loop sees it: leaves of the instances with a leading axis, and what they share."""

    program: AbstractProgram
    solver: AbstractSolver
    shared: Any
    z0s: Any
    mapped: Any
    warm: Any
    max_steps: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Instances, real and padding."""
        return jtu.tree_leaves(self.z0s)[0].shape[0]

    def one(self, part: Any) -> tuple[FlatProgram, Any]:
        """The program over vectors, and the instance made of `part` and what is shared."""
        p = eqx.combine(part, self.shared)
        # Of the start only the shape matters here; a constant keeps what depends on shared leaves unbatched.
        flat, _, _ = flatten(self.program, jtu.tree_map(lambda x: jnp.zeros(x.shape[1:], x.dtype), self.z0s), p)
        return self.solver.suited(flat), p

    def prepare(self, part: Any) -> Any:
        """The solver's constants for one instance."""
        flat, p = self.one(part)
        return self.solver.prepare(flat, p)


class Slots(eqx.Module):
    """The instances in work, leading axis `slots` on every leaf."""

    row: Int[Array, " slots"]
    """Which instance; the size of the batch for a slot that never held one."""
    part: Any
    constants: Any
    """The constants that depend on the instance."""
    state: Any
    steps: Int[Array, " slots"]
    running: Bool[Array, " slots"]


class Known(optx.AbstractAdjoint):
    """Attaches the implicit derivative to an answer that was found elsewhere and comes in the place of `warm`."""

    adjoint: optx.AbstractAdjoint = eqx.field(default_factory=KKTAdjoint)

    def apply(self, primal_fn: Any, rewrite_fn: Any, inputs: Any, tags: frozenset[object]) -> Any:
        """The answer in `inputs`, as if `primal_fn` had found it."""
        return self.adjoint.apply(_known, rewrite_fn, inputs, tags)


def _known(inputs: Any) -> Any:
    _, _, _, _, answer, *_ = inputs
    return answer


_known = getattr(_known, "__wrapped__", _known)


def through_slots(job: Job, count: Int[Array, ""], width: int, tail: int) -> Any:
    """What `Known` takes, for every instance: the flat answer, result, state and counters. Carries no derivatives.

    Args:
        job: a batch of `n >= width` instances.
        count: how many of them are real, at least one; the rest repeat the answer of the last of these.
        width: slots.
        tail: slots for the last instances, fewer than `width`; 0 for none, which saves compiling the step once more.
    """
    job = stop_gradient(job)
    n = job.size
    common, is_own = _common_constants(job)
    slots = _empty(job, is_own, n, width)
    shapes = eqx.filter_eval_shape(_answers, job, common, slots)
    found = jtu.tree_map(lambda x: jnp.zeros((n, *x.shape[1:]), x.dtype), shapes)

    def unfinished(carry: Any) -> Bool[Array, ""]:
        slots, waiting, _ = carry
        return (waiting < count) | (jnp.sum(slots.running) > tail)

    def turn(carry: Any) -> Any:
        slots, waiting, found = carry
        found = _write(job, common, slots, found)
        slots, waiting = _load(job, is_own, slots, waiting, count)
        limit = jnp.where(waiting < count, width - max(1, width // _IDLE), tail)
        return _work(job, common, slots, limit), waiting, found

    start = (slots, jnp.zeros((), slots.row.dtype), found)
    slots, _, found = jax.lax.while_loop(unfinished, turn, start)
    found = _write(job, common, slots, found)
    if tail:
        last = jnp.argsort(~slots.running)[:tail]
        slots = _work(job, common, jtu.tree_map(lambda x: x[last], slots), jnp.asarray(0))
        found = _write(job, common, slots, found)
    rows = jnp.minimum(jnp.arange(n), count - 1)
    return jtu.tree_map(lambda x: x[rows], found)


def on_devices(job: Job, count: Int[Array, ""], width: int, tail: int, mesh: Mesh) -> Any:
    """`through_slots` on every device of `mesh` for its part of the batch; none waits for another in the loop."""
    (axis,) = mesh.axis_names
    own, everywhere = jax.sharding.PartitionSpec(axis), jax.sharding.PartitionSpec()
    arrays, static = eqx.partition((job.program, job.solver, job.shared), eqx.is_array)

    def on_one(arrays: Any, batched: Any, count: Array) -> Any:
        part = Job(*eqx.combine(arrays, static), *batched, job.max_steps)  # pyright: ignore[reportCallIssue]
        # A device with nothing but padding solves the last instance once more.
        before = jax.lax.axis_index(axis).astype(count.dtype) * part.size
        return through_slots(part, jnp.clip(count - before, 1, part.size), width, tail)

    specs = {"in_specs": (everywhere, own, everywhere), "out_specs": own}
    run = jax.shard_map(on_one, mesh=mesh, check_vma=False, **specs)
    return run(arrays, (job.z0s, job.mapped, job.warm), count)


def _common_constants(job: Job) -> tuple[Any, Any]:
    """The constants that all instances share, computed once; and which leaves belong to an instance instead.

    What depends on the instance, `vmap` itself knows: it refuses to hand such a leaf out without a batch axis.
    """
    first = jtu.tree_map(lambda x: x[0], job.mapped)
    prepare = eqx.filter_closure_convert(job.prepare, first)  # traced once, however many leaves
    rows = jnp.arange(job.size)

    def is_common(index: int) -> bool:
        leaf = lambda part, _: jtu.tree_leaves(prepare(part))[index]
        try:
            jax.eval_shape(jax.vmap(leaf, out_axes=None), job.mapped, rows)
        except ValueError:
            return False
        return True

    constants = prepare(first)
    leaves, treedef = jtu.tree_flatten(constants)
    is_own = jtu.tree_unflatten(treedef, [eqx.is_array(x) and not is_common(i) for i, x in enumerate(leaves)])
    return eqx.filter(constants, is_own, inverse=True), is_own


def _empty(job: Job, is_own: Any, n: int, width: int) -> Slots:
    """Slots that hold nothing, in the shapes that they will have."""
    rows = jnp.zeros((width,), jnp.asarray(0).dtype)
    fresh = eqx.filter_eval_shape(lambda rows: _fresh(job, is_own, rows), rows)
    part, constants, state = jtu.tree_map(lambda x: jnp.zeros(x.shape, x.dtype), fresh)
    return Slots(rows + n, part, constants, state, rows, jnp.zeros((width,), bool))


def _fresh(job: Job, is_own: Any, rows: Int[Array, " slots"]) -> tuple[Any, Any, Any]:
    """The data, constants and first states of the instances `rows`."""
    take = lambda tree: jtu.tree_map(lambda x: x[rows], tree)

    def start(part: Any, z0: Any, warm: Any) -> tuple[Any, Any]:
        p = eqx.combine(part, job.shared)
        flat, _, x0 = flatten(job.program, z0, p)
        flat = job.solver.suited(flat)
        constants = job.solver.prepare(flat, p)
        state = begin(job.solver, flat, constants, x0, p, warm)
        return eqx.filter(constants, is_own), state

    part = take(job.mapped)
    return part, *jax.vmap(start)(part, take(job.z0s), take(job.warm))


def _load(
    job: Job, is_own: Any, slots: Slots, waiting: Int[Array, ""], count: Int[Array, ""]
) -> tuple[Slots, Int[Array, ""]]:
    """The next waiting instances in the idle slots, and the first that still waits."""
    idle = ~slots.running
    row = waiting + jnp.cumsum(idle) - 1
    enters = idle & (row < count)
    row = jnp.where(enters, row, slots.row)
    part, constants, state = _fresh(job, is_own, jnp.minimum(row, count - 1))
    running = enters & ~jax.vmap(job.solver.done)(state) & (job.max_steps > 0)
    # What leaves a slot empty is marked, so that no answer is written twice.
    row = jnp.where(enters | slots.running, row, job.size)
    new = Slots(row, part, constants, state, jnp.zeros_like(slots.steps), running)
    return jax.vmap(tree_where)(enters, new, eqx.tree_at(lambda s: s.row, slots, row)), waiting + jnp.sum(enters)


def _work(job: Job, common: Any, slots: Slots, limit: Int[Array, ""]) -> Slots:
    """Steps in all slots until at most `limit` of them are running; a finished one keeps its state."""

    def step(part: Any, own: Any, state: Any, steps: Array, running: Array) -> tuple[Any, Array, Array]:
        flat, p = job.one(part)
        state = tree_where(running, job.solver.step(flat, eqx.combine(own, common), state, p), state)
        steps = steps + running.astype(steps.dtype)
        return state, steps, running & ~job.solver.done(state) & (steps < job.max_steps)

    def advance(now: Any) -> Any:
        return jax.vmap(step)(slots.part, slots.constants, *now)

    start = (slots.state, slots.steps, slots.running)
    now = jax.lax.while_loop(lambda now: jnp.sum(now[2]) > limit, advance, start)
    return eqx.tree_at(lambda s: (s.state, s.steps, s.running), slots, now)


def _answers(job: Job, common: Any, slots: Slots) -> Any:
    """The outcome in every slot, finished or not."""

    def answer(part: Any, own: Any, state: Any, steps: Array, z0: Any) -> Any:
        flat, p = job.one(part)
        return outcome(flat, job.solver, eqx.combine(own, common), ravel(z0)[0], state, steps, p)

    rows = jnp.minimum(slots.row, job.size - 1)
    z0 = jtu.tree_map(lambda x: x[rows], job.z0s)
    return jax.vmap(answer)(slots.part, slots.constants, slots.state, slots.steps, z0)


def _write(job: Job, common: Any, slots: Slots, found: Any) -> Any:
    """`found` with the answers of the slots that have finished; rows beyond the batch are dropped."""
    n = jtu.tree_leaves(found)[0].shape[0]
    rows = jnp.where(slots.running, n, slots.row)
    return jtu.tree_map(lambda all, one: all.at[rows].set(one, mode="drop"), found, _answers(job, common, slots))
