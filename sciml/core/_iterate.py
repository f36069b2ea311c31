"""The iteration loop that every iterative method of the library runs through."""

from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

State = TypeVar("State")


def iterate(
    step: Callable[[State], State],
    done: Callable[[State], Bool[Array, ""]],
    state: State,
    *,
    max_steps: int,
    while_loop: Callable,
) -> tuple[State, Int[Array, ""]]:
    """Applies `step` until `done` or `max_steps`; returns the last state and the number of steps.

    Under `vmap` the loop runs until the slowest instance is done, while finished instances keep their state unchanged.

    Args:
        step: maps a state to the next one; states hold arrays only.
        done: tells whether to stop, after success or failure.
        state: the initial state.
        max_steps: largest number of iterations.
        while_loop: the loop primitive that an Optimistix adjoint passes to its primal function.
    """

    def cond(carry: tuple[State, Int[Array, ""]]) -> Bool[Array, ""]:
        return ~done(carry[0])

    def body(carry: tuple[State, Int[Array, ""]]) -> tuple[State, Int[Array, ""]]:
        return step(carry[0]), carry[1] + 1

    return while_loop(cond, body, (state, jnp.asarray(0)), max_steps=max_steps)
