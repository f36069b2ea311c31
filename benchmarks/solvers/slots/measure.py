"""One fresh process of the benchmark: times both contestants in turns on one seed, prints JSON."""

import argparse
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import problem
import referee
from harness import versions

from sciml import solve, solve_batch
from sciml.solvers import InteriorPoint

COMPILATIONS = 3
REPETITIONS = 10
MAX_STEPS = 256
CHUNK = 1000  # vmap against itself in chunks of this: what rounding alone does
OURS, RIVAL = "sciml", "vmap of solve"


def contestants(z0s: Any, ps: problem.Instance) -> dict[str, Callable[[], Any]]:
    """What is timed, each from arrays on the device to arrays on the device."""
    solver = InteriorPoint()
    one = lambda z0, p: solve(problem.PROGRAM, solver, z0, p, max_steps=MAX_STEPS, throw=False)
    together = jax.jit(jax.vmap(one))
    return {
        OURS: lambda: solve_batch(problem.PROGRAM, solver, z0s, ps, max_steps=MAX_STEPS, progress=False),
        RIVAL: lambda: together(z0s, ps),
    }


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """The answer, the CPU seconds and the wall seconds until it is there."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    answer = jax.block_until_ready(call())
    return answer, time.process_time() - cpu, time.perf_counter() - wall


def check(answer: Any, ps: problem.Instance) -> dict[str, float]:
    """What the referee and the counters say of all answers."""
    duals = answer.duals
    residual = referee.residual(*(np.asarray(x) for x in (answer.value, duals.ineq, ps.stiffness, ps.limit)))
    return {"residual": float(residual.max()), "failures": int(np.sum(~np.asarray(answer.stats.has_derivative)))}


def compare(answer: Any, other: Any) -> dict[str, float]:
    """Two answers for the same instances."""
    a, b = np.asarray(answer.value), np.asarray(other.value)
    size = np.max(np.abs(b), axis=1, keepdims=True)
    steps = np.asarray(answer.stats.steps), np.asarray(other.stats.steps)
    return {"difference": float(np.max(np.abs(a - b) / size)), "other_steps": int(np.sum(steps[0] != steps[1]))}


def floor(whole: Any, z0s: Any, ps: problem.Instance) -> dict[str, float]:
    """`vmap` against `vmap` in chunks: the same operations in another shape."""
    count = z0s.shape[0]
    cut = lambda tree, start: jax.tree.map(lambda x: x[start : start + CHUNK], tree)
    parts = [contestants(cut(z0s, start), cut(ps, start))[RIVAL]() for start in range(0, count, CHUNK)]
    return compare(jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts), whole)


def main() -> None:
    """Compile each thrice, run each ten times in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=problem.COUNT)
    args = parser.parse_args()
    starts, ps, hard = problem.instances(args.seed, args.count)
    z0s = jnp.asarray(starts)
    calls = contestants(z0s, ps)
    reports = {name: {"first_cpu_s": [], "first_wall_s": [], "cpu_s": [], "wall_s": []} for name in calls}
    answers = {}
    for _ in range(COMPILATIONS):
        for name in calls:
            jax.clear_caches()
            calls = contestants(z0s, ps)
            answers[name], cpu, wall = timed(calls[name])
            reports[name]["first_cpu_s"].append(cpu)
            reports[name]["first_wall_s"].append(wall)
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(REPETITIONS):
        for name, call in calls.items():
            _, cpu, wall = timed(call)
            reports[name]["cpu_s"].append(cpu)
            reports[name]["wall_s"].append(wall)
    for name in calls:
        reports[name].update(check(answers[name], ps))
    steps = np.asarray(answers[RIVAL].stats.steps)
    facts = {
        **compare(answers[OURS], answers[RIVAL]),
        "floor": floor(answers[RIVAL], z0s, ps),
        "median_steps": float(np.median(steps)),
        "most_steps": int(steps.max()),
        "slow_share": float(np.mean(steps >= 10 * np.median(steps))),
        "least_hard_steps": int(steps[hard].min()),
    }
    print(json.dumps({"contestants": reports, "facts": facts, "versions": versions()}))


if __name__ == "__main__":
    main()
