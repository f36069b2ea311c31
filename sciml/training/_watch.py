"""A fit in compiled chunks of steps, with the host looking in between: monitors, checkpoints, progress."""

import hashlib
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, UInt8

from ..core import invalid, progress_bar, resolve
from ..storage import load, output_folder, save
from ._monitors import AbstractMonitor, Event


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

    def next_look(self, start: int, steps: int, period: int) -> int:
        """The next step at which anyone wants to look."""
        periods = [period, *(m.every for m in self.monitors)]
        periods += [] if self.checkpoint is None else [self.checkpoint.every]
        return min(steps, *((start // every + 1) * every for every in periods))


class Progress(NamedTuple):
    """How a chunk of steps went."""

    step: int
    """Steps done so far."""
    loss: float
    is_done: bool
    """Whether the method has converged."""
    is_sound: bool
    """Whether loss and parameters are finite."""


class AbstractWork(eqx.Module):
    """A fit that goes forward in chunks; what it carries is a pytree of arrays that has `parameters` and `step`."""

    key: eqx.AbstractVar[PRNGKeyArray]
    """The fit's, to recognise it in a checkpoint."""
    period: eqx.AbstractVar[int]
    """Most steps between two looks of the host."""

    @abstractmethod
    def start(self, parameters: Any) -> Any:
        """What is carried before the first step."""

    @abstractmethod
    def advance(self, end: int, carry: Any) -> tuple[Any, Progress]:
        """Steps until `end`, and how they went; a chunk that is not sound leaves the parameters as they were before."""

    @abstractmethod
    def model(self, parameters: Any) -> Any:
        """The model with these parameters, wrappers kept."""


class _State(eqx.Module):
    """Everything that a fit needs in order to go on: what a checkpoint holds."""

    carry: Any
    seen: tuple[Any, ...]
    """The monitors' memories."""
    is_stopped: Bool[Array, ""]
    """Whether a monitor, or convergence, has ended the fit."""
    key: PRNGKeyArray
    origin: UInt8[np.ndarray, " byte"]
    """Digest of the start and of all arrays and numbers that the fit works with."""


def run(work: AbstractWork, parameters: Any, steps: int, watch: Watch) -> tuple[Any, Any, bool]:
    """The last carry, the parameters to return, and whether all chunks were sound."""
    if watch.checkpoint is not None:
        output_folder(Path(watch.checkpoint.path).parent)
    state, sound = _start(work, parameters, watch), True
    with progress_bar(steps, "fit", shown=watch.progress) as bar:
        bar.update(int(state.carry.step))
        try:
            while sound and not bool(state.is_stopped) and int(state.carry.step) < steps:
                state, sound = _advance(work, state, steps, watch, bar)
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
    return state.carry, parameters, sound


def _start(work: AbstractWork, parameters: Any, watch: Watch) -> _State:
    """The state before the first step, or the one in the checkpoint."""
    seen = tuple(m.init(copy(parameters)) for m in watch.monitors)
    origin = np.zeros(32, np.uint8) if watch.checkpoint is None else _digest((parameters, work))
    state = _State(work.start(parameters), seen, jnp.zeros((), bool), work.key, origin)
    if watch.checkpoint is None or not os.path.exists(watch.checkpoint.path):
        return state
    expected = "the state of this very fit: same start, loss, method, source, monitors, steps and key"
    fix = "delete the file to start afresh, or choose another one"
    try:
        restored = load(watch.checkpoint.path, state)
    except ValueError as error:
        raise invalid("checkpoint", f"{watch.checkpoint.path} ({error})", expected, fix) from error
    if not np.array_equal(_bits(restored.key), _bits(work.key)):
        raise invalid("checkpoint", f"{watch.checkpoint.path}, made with another `key`", expected, fix)
    if not np.array_equal(restored.origin, origin):
        got = f"{watch.checkpoint.path}, made from another start, or with other data or settings"
        raise invalid("checkpoint", got, expected, fix)
    return restored


def _advance(work: AbstractWork, state: _State, steps: int, watch: Watch, bar: Any) -> tuple[_State, bool]:
    """Steps until the next look, and the look."""
    start = int(state.carry.step)
    carry, progress = work.advance(watch.next_look(start, steps, work.period), state.carry)
    if not progress.is_sound:
        return _State(carry, state.seen, state.is_stopped, state.key, state.origin), False
    is_last = progress.is_done or progress.step == steps
    seen, stop = _look(work, watch.monitors, state.seen, carry.parameters, progress, is_last)
    bar.update(progress.step - start)
    bar.set_postfix_str(f"loss {progress.loss:.4g}")
    return _State(carry, seen, jnp.asarray(stop or progress.is_done), state.key, state.origin), True


def _look(
    work: AbstractWork, monitors: Any, seen: Any, parameters: Any, progress: Progress, is_last: bool
) -> tuple[Any, bool]:
    """Lets every monitor whose turn it is look at the model."""
    memories, stop = [], False
    for monitor, memory in zip(monitors, seen, strict=True):
        if progress.step % monitor.every == 0 or is_last:
            # Monitors keep what they see: give them copies, a chunk's own buffers may be donated.
            mine = copy(parameters)
            memory, wants_to_stop = monitor.update(
                memory, Event(progress.step, progress.loss, resolve(work.model(mine)), mine)
            )
            stop = stop or wants_to_stop
        memories.append(memory)
    return tuple(memories), stop


def copy(tree: Any) -> Any:
    """`tree` in buffers of its own."""
    return jtu.tree_map(lambda x: jnp.array(x, copy=True) if eqx.is_array(x) else x, tree)


def _digest(tree: Any) -> UInt8[np.ndarray, " byte"]:
    """SHA-256 of all arrays and numbers of a tree, with their places; functions have no bytes to compare."""
    digest = hashlib.sha256()
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if eqx.is_array_like(leaf):
            values = np.asarray(_bits(leaf) if eqx.is_array(leaf) else leaf)
            digest.update(f"{jtu.keystr(path)} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _bits(key: Any) -> Any:
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def _is_deleted(tree: Any) -> bool:
    return any(x.is_deleted() for x in jtu.tree_leaves(tree) if isinstance(x, jax.Array))
