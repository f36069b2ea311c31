"""A loop whose last instances of a batch are finished in a narrower batch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

from ..core import tree_where

_FEWEST = 32  # instances from which a narrower batch is worth its compilation
_NARROWER = 8


def narrowing_loop(
    going: Callable[[Any], Bool[Array, ""]], go: Callable[[Any, Any], Any], constants: Any, first: Any
) -> Any:
    """`state = go(constants, state)` from `first` while `going(state)`.

    Under `vmap` a loop runs to its slowest instance, and all others wait. Here, in a batch of at least 32, the last
    eighth moves into a batch of its own: the whole batch is only paid for until seven eighths are done. What of
    `constants` all instances share stays shared.

    Args:
        going, go: functions of their arguments alone: they must not close over traced arrays.
        constants: what the loop does not change.
        first: the state, arrays only.
    """
    arrays, static = eqx.partition(constants, eqx.is_array)
    step = lambda arrays, state: go(eqx.combine(arrays, static), state)

    @custom_vmap
    def run(arrays: Any, state: Any) -> Any:
        return jax.lax.while_loop(going, lambda s: step(arrays, s), state)

    @run.def_vmap
    def batched(size: int, is_batched: Any, arrays: Any, state: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda b: 0 if b else None, is_batched[0])
        spread = lambda b, leaf: leaf if b else jnp.broadcast_to(leaf, (size, *jnp.shape(leaf)))
        state = jax.tree.map(spread, is_batched[1], state)
        narrow = size // _NARROWER if size >= _FEWEST else 0
        state = _until_few(going, step, arrays, axes, state, narrow)
        if narrow:
            last_first = jnp.argsort(~jax.vmap(going)(state), stable=True)[:narrow]
            some = jax.tree.map(lambda b, leaf: leaf[last_first] if b else leaf, is_batched[0], arrays)
            ends = _until_few(going, step, some, axes, jax.tree.map(lambda leaf: leaf[last_first], state), 0)
            state = jax.tree.map(lambda leaf, end: leaf.at[last_first].set(end), state, ends)
        return state, jax.tree.map(lambda _: True, state)

    return run(arrays, first)


def _until_few(going: Callable, step: Callable, arrays: Any, axes: Any, state: Any, few: int) -> Any:
    """Steps of all that go on, until no more than `few` of them do."""

    def one(arrays: Any, state: Any) -> Any:
        return tree_where(going(state), step(arrays, state), state)

    each = jax.vmap(one, in_axes=(axes, 0))
    many = lambda state: jnp.sum(jax.vmap(going)(state)) > few
    return jax.lax.while_loop(many, lambda state: each(arrays, state), state)
