"""What the two JAX contestants share: a clipped AdamW step on a cost, compiled ahead of time, on donated buffers."""

import time
from collections.abc import Callable
from typing import Any

import jax
import optax
import problem


def optimiser() -> optax.GradientTransformation:
    """Global-norm clip, then AdamW."""
    return optax.chain(
        optax.clip_by_global_norm(problem.CLIP),
        optax.adamw(
            problem.LEARNING_RATE,
            b1=problem.BETA1,
            b2=problem.BETA2,
            eps=problem.EPSILON,
            weight_decay=problem.WEIGHT_DECAY,
        ),
    )


def compile_step(cost: Callable[[Any, Any], Any], weights: Any, x0: Any) -> tuple[Callable[[], tuple], float]:
    """A function that does one gradient step and returns cost and gradient norm; and the seconds to compile it."""
    update = optimiser()
    # Flat from here on: calls pay for flattening records in Python, which is not the question (`fit` scans over steps).
    leaves, structure = jax.tree.flatten((weights, update.init(weights)))
    leaves = [leaf.copy() for leaf in leaves]  # donated below

    def step(leaves: list[Any], x0: Any) -> tuple:
        weights, state = jax.tree.unflatten(structure, leaves)
        value, grads = jax.value_and_grad(cost)(weights, x0)
        with jax.numpy_dtype_promotion("standard"):  # optax promotes step counts with floats
            changes, state = update.update(grads, state, weights)
        return jax.tree.leaves((optax.apply_updates(weights, changes), state)), value, optax.tree.norm(grads)

    start = time.process_time()  # CPU seconds: other work on the machine does not count
    compiled = jax.jit(step, donate_argnums=0).lower(leaves, x0).compile()
    seconds = time.process_time() - start

    def advance() -> tuple:
        nonlocal leaves
        leaves, value, size = jax.block_until_ready(compiled(leaves, x0))
        return value, size

    return advance, seconds
