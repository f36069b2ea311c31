"""Stochastic first-order fits: compiled chunks of steps, with the host looking in between."""

import math
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import invalid, progress_bar, RESULTS, Solution, tree_allfinite
from ..losses import AbstractLoss
from ..sources import AbstractSource
from ..storage import load, output_folder, save
from ._monitors import AbstractMonitor, Event
from ._parameters import resolve

_CHUNK = 100  # most steps between two looks of the host


class FitStats(eqx.Module):
    """How a fit went."""

    steps: Int[Array, ""]
    """Steps taken."""
    losses: Float[Array, " steps"]
    """The loss at every step, before the step."""
    failed: Float[Array, " steps"]
    """Fraction of failed instances at every step."""


class Checkpoint(eqx.Module):
    """Where and how often to save the state of a fit, so that it can go on after an interruption.

    Args:
        path: the file; its folder is created if it is missing.
        every: steps between saves.
    """

    path: str
    every: int = 500

    def __check_init__(self) -> None:
        if self.every < 1:
            raise invalid("every", self.every, "a number of steps >= 1", "leave it at its default")


class Watch(eqx.Module):
    """Who looks at a fit from the host."""

    monitors: tuple[AbstractMonitor, ...]
    checkpoint: Checkpoint | None
    progress: bool

    def next_look(self, start: int, steps: int) -> int:
        """The next step at which anyone wants to look."""
        periods = [_CHUNK, *(m.every for m in self.monitors)]
        periods += [] if self.checkpoint is None else [self.checkpoint.every]
        return min(steps, *((start // every + 1) * every for every in periods))


class Job(eqx.Module):
    """What stays the same over all steps."""

    rest: Any
    """The model without the trained arrays."""
    loss: Any
    source: AbstractSource
    method: optax.GradientTransformation
    key: PRNGKeyArray


class _Carry(eqx.Module):
    """Everything that a step changes."""

    parameters: Any
    optimiser: Any
    memory: Any
    step: Int[Array, ""]
    losses: Float[Array, " steps"]
    failed: Float[Array, " steps"]


class _State(eqx.Module):
    """Everything that a fit needs in order to go on: what a checkpoint holds."""

    carry: _Carry
    seen: tuple[Any, ...]
    """The monitors' memories."""
    is_stopped: Bool[Array, ""]
    """Whether a monitor has ended the fit."""
    key: PRNGKeyArray
    """The fit's, to recognise it."""


def fit_first_order(parameters: Any, job: Job, steps: int, watch: Watch) -> Solution:
    """See `fit`."""
    if watch.checkpoint is not None:
        output_folder(Path(watch.checkpoint.path).parent)
    state, sound = _start(parameters, job, steps, watch), True
    with progress_bar(steps, "fit", shown=watch.progress) as bar:
        bar.update(int(state.carry.step))
        try:
            while sound and not bool(state.is_stopped) and int(state.carry.step) < steps:
                state, sound = _advance(state, job, steps, watch, bar)
                done = int(state.carry.step)
                is_last = done == steps or bool(state.is_stopped)
                if sound and watch.checkpoint is not None and (done % watch.checkpoint.every == 0 or is_last):
                    save(watch.checkpoint.path, state)
        except KeyboardInterrupt:
            if watch.checkpoint is not None and not _is_deleted(state):
                save(watch.checkpoint.path, state)
            raise
    parameters = state.carry.parameters
    for monitor, memory in zip(watch.monitors, state.seen, strict=True):
        parameters = monitor.finish(memory, parameters)
    trained, done = eqx.combine(parameters, job.rest), int(state.carry.step)
    stats = FitStats(state.carry.step, state.carry.losses[:done], state.carry.failed[:done])
    return Solution(resolve(trained), RESULTS.successful if sound else RESULTS.diverged, stats, state=trained)


def _start(parameters: Any, job: Job, steps: int, watch: Watch) -> _State:
    """The state before the first step, or the one in the checkpoint."""
    with jax.numpy_dtype_promotion("standard"):
        optimiser = job.method.init(parameters)
    model = resolve(eqx.combine(parameters, job.rest))
    memory = job.loss.init(model, job.source) if isinstance(job.loss, AbstractLoss) else None
    zero = jnp.zeros((), int)
    carry = _Carry(parameters, optimiser, memory, zero, jnp.zeros(steps), jnp.zeros(steps))
    seen = tuple(m.init(_copy(parameters)) for m in watch.monitors)
    # Copies: the compiled chunk is given the buffers for good, and optimisers may use one of them twice.
    state = _State(_copy(carry), seen, jnp.zeros((), bool), job.key)
    if watch.checkpoint is None or not os.path.exists(watch.checkpoint.path):
        return state
    expected = "the state of this very fit: same model, method, source, monitors, steps and key"
    fix = "delete the file to start afresh, or choose another one"
    try:
        restored = load(watch.checkpoint.path, state)
    except ValueError as error:
        raise invalid("checkpoint", f"{watch.checkpoint.path} ({error})", expected, fix) from error
    if not np.array_equal(_bits(restored.key), _bits(job.key)):
        raise invalid("checkpoint", f"{watch.checkpoint.path}, made with another `key`", expected, fix)
    return restored


def _advance(state: _State, job: Job, steps: int, watch: Watch, bar: Any) -> tuple[_State, bool]:
    """Steps until the next look, and the look. A chunk that diverges leaves the parameters as they were before it."""
    start = int(state.carry.step)
    end = watch.next_look(start, steps)
    before = _copy(state.carry.parameters)
    # The end as an array: a Python number would recompile.
    carry, finite = _run(job, jnp.asarray(end), state.carry)
    recent = float(jnp.mean(carry.losses[start:end]))
    if not (math.isfinite(recent) and bool(finite)):
        carry = eqx.tree_at(lambda c: c.parameters, carry, before)
        return _State(carry, state.seen, state.is_stopped, state.key), False
    seen, stop = _look(watch.monitors, state.seen, carry, job.rest, end, recent)
    bar.update(end - start)
    bar.set_postfix_str(f"loss {recent:.4g}")
    return _State(carry, seen, jnp.asarray(stop), state.key), True


@eqx.filter_jit(donate="all-except-first")
def _run(job: Job, end: Any, carry: _Carry) -> tuple[_Carry, Any]:
    """Steps until `end`, which is data: chunks of any length share one compilation; are the parameters finite?"""
    loss, key = job.loss, job.key
    method = optax.with_extra_args_support(job.method)

    def value(parameters: Any, memory: Any, batch: Any, key: Any) -> tuple[Any, tuple[Any, Any]]:
        model = resolve(eqx.combine(parameters, job.rest))
        if isinstance(loss, AbstractLoss):
            out, memory, report = loss.evaluate(model, batch, memory, key=key)
            return out, (memory, report.failed)
        out = loss(model, batch.value)
        return out, (memory, jnp.zeros_like(out))

    def body(carry: _Carry) -> _Carry:
        batch = job.source.batch(carry.step, key=jax.random.fold_in(key, 0))
        once = jax.random.fold_in(jax.random.fold_in(key, 1), carry.step)
        grad = eqx.filter_value_and_grad(value, has_aux=True)
        (out, (memory, failed)), slope = grad(carry.parameters, carry.memory, batch, once)
        with jax.numpy_dtype_promotion("standard"):
            again = lambda parameters: value(parameters, carry.memory, batch, once)[0]
            extra = {"value": out, "grad": slope, "value_fn": again}  # for line searches; others ignore it
            update, optimiser = method.update(slope, carry.optimiser, carry.parameters, **extra)
            parameters = eqx.apply_updates(carry.parameters, update)
        parameters = jtu.tree_map(lambda new, old: new.astype(old.dtype), parameters, carry.parameters)
        at = carry.step
        losses = carry.losses.at[at].set(out.astype(carry.losses.dtype))
        failed = carry.failed.at[at].set(failed.astype(carry.failed.dtype))
        return _Carry(parameters, optimiser, memory, at + 1, losses, failed)

    carry = jax.lax.while_loop(lambda c: c.step < end, body, carry)
    return carry, tree_allfinite(carry.parameters)


def _look(monitors: Any, seen: Any, carry: _Carry, rest: Any, step: int, loss: float) -> tuple[Any, bool]:
    """Lets every monitor whose turn it is look at the model."""
    memories, stop = [], False
    for monitor, memory in zip(monitors, seen, strict=True):
        if step % monitor.every == 0 or step == carry.losses.shape[0]:
            # Monitors keep what they see: give them copies, the chunk's own buffers are donated.
            parameters = _copy(carry.parameters)
            event = Event(step, loss, resolve(eqx.combine(parameters, rest)), parameters)
            memory, wants_to_stop = monitor.update(memory, event)
            stop = stop or wants_to_stop
        memories.append(memory)
    return tuple(memories), stop


def _bits(key: PRNGKeyArray) -> Any:
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _copy(tree: Any) -> Any:
    return jtu.tree_map(lambda x: jnp.array(x, copy=True) if eqx.is_array(x) else x, tree)


def _is_deleted(tree: Any) -> bool:
    return any(x.is_deleted() for x in jtu.tree_leaves(tree) if isinstance(x, jax.Array))
