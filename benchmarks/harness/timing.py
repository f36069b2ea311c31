"""Compiling and repeating what is timed; compile time is CPU time, so that other work on the machine does not count."""

import time
from collections.abc import Callable
from typing import Any


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[], Any], float]:
    """`function(*arguments)` compiled as a call that blocks until ready, and the CPU seconds of the compilation."""
    import jax

    start = time.process_time()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.process_time() - start
    return lambda: jax.block_until_ready(compiled(*arguments)), seconds


def repeat(action: Callable[[], Any], count: int = 1) -> tuple[float, float]:
    """CPU and wall seconds of one call, averaged over `count` calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        action()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count
