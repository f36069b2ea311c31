"""Stochastic first-order fits: compiled chunks of steps, with the host looking in between."""

import math
import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import progress_bar, RESULTS, Solution
from ..losses import AbstractLoss
from ..sources import AbstractSource
from ..storage import load, save
from ._monitors import AbstractMonitor, Event
from ._parameters import partition, resolve

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
        path: the file; the folder must exist.
        every: steps between saves.
    """

    path: str
    every: int = 500


class _Carry(eqx.Module):
    """Everything that a step changes."""

    parameters: Any
    optimiser: Any
    memory: Any
    step: Int[Array, ""]
    losses: Float[Array, " steps"]
    failed: Float[Array, " steps"]


def fit_first_order(
    model: Any,
    loss: Any,
    source: AbstractSource,
    method: optax.GradientTransformation,
    steps: int,
    key: PRNGKeyArray,
    trainable: Any,
    monitors: tuple[AbstractMonitor, ...],
    checkpoint: Checkpoint | None,
    progress: bool,
) -> Solution:
    """See `fit`."""
    parameters, rest = partition(model, trainable)
    # Copies, because the compiled chunk is given its buffers for good.
    parameters = jtu.tree_map(lambda x: jnp.array(x, copy=True), parameters)
    with jax.numpy_dtype_promotion("standard"):
        optimiser = method.init(parameters)
    memory = loss.init(resolve(model), source) if isinstance(loss, AbstractLoss) else None
    carry = _Carry(parameters, optimiser, memory, jnp.asarray(0), jnp.zeros(steps), jnp.zeros(steps))
    seen = tuple(m.init(_copy(parameters)) for m in monitors)
    if checkpoint is not None and os.path.exists(checkpoint.path):
        carry, seen = _restore(checkpoint.path, (carry, seen))
    state = (carry, seen)
    fixed = (rest, loss, source, method, key)
    stop, sound = False, True
    with progress_bar(steps, "fit", shown=progress) as bar:
        bar.update(int(carry.step))
        try:
            while not stop and sound and int(state[0].step) < steps:
                start = int(state[0].step)
                end = _next_look(start, steps, monitors, checkpoint)
                before = _copy(state[0].parameters)
                carry = _run(fixed, jnp.asarray(end), state[0])  # an array: a Python number would recompile
                recent = float(jnp.mean(carry.losses[start:end]))
                sound = math.isfinite(recent)
                if not sound:
                    carry = eqx.tree_at(lambda c: c.parameters, carry, before)
                    state = (carry, state[1])
                    break
                seen, stop = _look(monitors, state[1], carry, rest, end, recent)
                state = (carry, seen)
                bar.update(end - start)
                bar.set_postfix_str(f"loss {recent:.4g}")
                if checkpoint is not None and (end % checkpoint.every == 0 or end == steps or stop):
                    save(checkpoint.path, state)
        except KeyboardInterrupt:
            if checkpoint is not None and not _is_deleted(state):
                save(checkpoint.path, state)
            raise
    return _solution(state, rest, monitors, sound)


@eqx.filter_jit(donate="all-except-first")
def _run(fixed: Any, end: Any, carry: _Carry) -> _Carry:
    """Steps until `end`, which is data: chunks of any length share one compilation."""
    rest, loss, source, method, key = fixed

    def value(parameters: Any, memory: Any, batch: Any, key: Any) -> tuple[Any, tuple[Any, Any]]:
        model = resolve(eqx.combine(parameters, rest))
        if isinstance(loss, AbstractLoss):
            out, memory, report = loss.evaluate(model, batch, memory, key=key)
            return out, (memory, report.failed)
        out = loss(model, batch.value)
        return out, (memory, jnp.zeros_like(out))

    def body(carry: _Carry) -> _Carry:
        batch = source.batch(carry.step, key=jax.random.fold_in(key, 0))
        once = jax.random.fold_in(jax.random.fold_in(key, 1), carry.step)
        grad = eqx.filter_value_and_grad(value, has_aux=True)
        (out, (memory, failed)), slope = grad(carry.parameters, carry.memory, batch, once)
        with jax.numpy_dtype_promotion("standard"):
            update, optimiser = method.update(slope, carry.optimiser, carry.parameters)
            parameters = eqx.apply_updates(carry.parameters, update)
        parameters = jtu.tree_map(lambda new, old: new.astype(old.dtype), parameters, carry.parameters)
        at = carry.step
        losses = carry.losses.at[at].set(out.astype(carry.losses.dtype))
        failed = carry.failed.at[at].set(failed.astype(carry.failed.dtype))
        return _Carry(parameters, optimiser, memory, at + 1, losses, failed)

    return jax.lax.while_loop(lambda c: c.step < end, body, carry)


def _next_look(start: int, steps: int, monitors: Any, checkpoint: Checkpoint | None) -> Any:
    """The next step at which anyone wants to look."""
    periods = [_CHUNK, *(m.every for m in monitors)] + ([] if checkpoint is None else [checkpoint.every])
    return min(steps, *((start // every + 1) * every for every in periods))


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


def _solution(state: Any, rest: Any, monitors: Any, sound: bool) -> Solution:
    carry, seen = state
    parameters = carry.parameters
    for monitor, memory in zip(monitors, seen, strict=True):
        parameters = monitor.finish(memory, parameters)
    trained = eqx.combine(parameters, rest)
    done = int(carry.step)
    stats = FitStats(carry.step, carry.losses[:done], carry.failed[:done])
    return Solution(resolve(trained), RESULTS.successful if sound else RESULTS.diverged, stats, state=trained)


def _restore(path: str, like: Any) -> Any:
    return load(path, like)


def _copy(tree: Any) -> Any:
    return jtu.tree_map(lambda x: jnp.array(x, copy=True), tree)


def _is_deleted(tree: Any) -> bool:
    return any(x.is_deleted() for x in jtu.tree_leaves(tree) if isinstance(x, jax.Array))
