"""What second derivatives of a stage cost, by how they are laid out: prints microseconds for a stage of an instance.

python benchmarks/solvers/quadrotor_horizon/layouts.py
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[2])]
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import ours_solve  # noqa: E402
import problem  # noqa: E402

HORIZON, CHUNKS, REPETITIONS = 30, (1, 4, 16), 15
NX, WIDTH = problem.NX, problem.NX + problem.NU


def in_a_loop(v: Any) -> Any:
    """The next state, with the evaluations of the slope in a loop."""
    return ours_solve.dynamics(v[:NX], v[NX:], None, None)


def unrolled(v: Any) -> Any:
    """The same, one evaluation after the other in the program."""
    return problem.step(v[:NX], v[NX:], ours_solve.JAX)


def by_index(v: Any) -> Any:
    """As `in_a_loop`, with the components of vectors taken out one by one."""
    functions = SimpleNamespace(**{**vars(ours_solve.JAX), "parts": list})
    return ours_solve.dynamics(v[:NX], v[NX:], None, None, functions)


def second(step: Callable, axis: int = 0) -> Callable:
    """The next state, its Jacobian and the Hessian of its product with multipliers, by forward over reverse mode."""

    def at(v: Any, nu: Any) -> Any:
        def both(v: Any) -> Any:
            after, pull = jax.vjp(step, v)
            return (after, pull(nu)[0]), after

        _, push, after = jax.linearize(both, v, has_aux=True)
        return after, jax.vmap(push, in_axes=axis, out_axes=axis)(jnp.eye(WIDTH, dtype=v.dtype))

    return at


def forward_over_forward(v: Any, nu: Any) -> Any:
    """The Hessian alone, without reverse mode."""
    along = lambda v: jax.vmap(jax.linearize(in_a_loop, v)[1])(jnp.eye(WIDTH, dtype=v.dtype)) @ nu
    return jax.jacfwd(along)(v)


def chunks(size: int) -> Callable:
    """Stages in groups of `size`, one group after the other."""
    one = second(in_a_loop)
    return lambda v, nu: jax.lax.map(lambda at: one(*at), (v, nu), batch_size=size)


def cost(run: Callable, v: Any, nu: Any) -> float:
    """Microseconds of CPU time for a stage of an instance, the fastest of several calls."""
    run = jax.jit(run)
    jax.block_until_ready(run(v, nu))
    times = []
    for _ in range(REPETITIONS):
        begin = time.process_time()
        jax.block_until_ready(run(v, nu))
        times.append(time.process_time() - begin)
    return 1e6 * min(times) * WIDTH / v.size


def one_by_one(step: Callable) -> Callable:
    """The stages of an instance side by side, one instance after the other."""
    return lambda v, nu: jax.lax.map(lambda at: jax.vmap(second(step))(*at), (v, nu))


def main() -> None:
    """All layouts, for a batch and for one instance."""
    rng = np.random.default_rng(0)
    stages = lambda one: jax.vmap(jax.vmap(one))
    contestants = {
        "values alone": stages(lambda v, nu: in_a_loop(v)),
        "first derivatives alone": stages(lambda v, nu: jax.jacfwd(in_a_loop)(v)),
        "side by side, as the library does": stages(second(in_a_loop)),
        "directions in the last axis": stages(second(in_a_loop, -1)),
        "components by index": stages(second(by_index)),
        "instances one by one": one_by_one(in_a_loop),
        "Runge-Kutta unrolled": stages(second(unrolled)),
        "forward over forward": stages(forward_over_forward),
        **{f"stages in groups of {size}": jax.vmap(chunks(size)) for size in CHUNKS},
    }
    for batch in problem.BATCHES:
        v = rng.normal(size=(batch, HORIZON, WIDTH)) * 0.1 + np.r_[np.zeros(NX), np.full(problem.NU, problem.HOVER)]
        nu = rng.normal(size=(batch, HORIZON, NX))
        for name, run in contestants.items():
            print(f"batch {batch:2d}, {name}: {cost(run, jnp.asarray(v), jnp.asarray(nu)):.1f} µs", flush=True)


if __name__ == "__main__":
    main()
