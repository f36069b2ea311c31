"""One fresh process of the benchmark: prepares contestants on one case, steps them in turns, prints JSON."""

import argparse
import importlib
import json
import math
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import problem
from harness import versions
from harness.timing import repeat

CONTESTANTS = {
    "sciml": "ours",
    "hand-written JAX": "rivals.handwritten",
    "hand-written JAX, checkpointed": "rivals.checkpointed",
    "plain PyTorch": "rivals.torch_loop",
    "NeuroMANCER": "rivals.neuromancer_system",
}
COMPILATIONS = 3
REPETITIONS = 15
FEWEST_REPETITIONS = 3  # where one step takes many seconds
SHORTEST = 0.05  # seconds; a repetition is as many steps as this takes
BUDGET = 40.0  # seconds of repetitions per contestant and case


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(name: str, instance: dict[str, np.ndarray], horizon: int) -> tuple[Callable[[], tuple], float]:
    """The contestant's gradient step, and the seconds it took to compile."""
    return importlib.import_module(CONTESTANTS[name]).prepare(instance, horizon)


def check(step: Callable[[], tuple]) -> dict[str, float]:
    """What the referee compares: the first cost and gradient norm, and the cost after some updates."""
    cost, size = (float(v) for v in step())
    for _ in range(problem.UPDATES_COMPARED):
        after, _ = step()
    return {"cost": cost, "gradient_norm": size, "cost_after": float(after)}


def timings(names: list[str], instance: dict[str, np.ndarray], horizon: int) -> dict[str, dict]:
    """Compile times, values and step times of the contestants, interleaved."""
    first = {**instance, "x0": instance["x0"][:1]}
    for name in names:
        prepare(name, first, min(problem.HORIZONS))  # imports and one-time set-up, not counted
    reports: dict[str, dict] = {name: {"compile_s": [], "cpu_s": [], "wall_s": []} for name in names}
    steps: dict[str, Callable[[], tuple]] = {}
    for turn in range(COMPILATIONS):
        for name in names[:: 1 if turn % 2 == 0 else -1]:
            if "jax" in sys.modules:
                sys.modules["jax"].clear_caches()
            steps[name], seconds = prepare(name, instance, horizon)
            reports[name]["compile_s"].append(seconds)
    counts = {}
    for name in names:
        reports[name].update(check(steps[name]))
        once = repeat(steps[name], 1)[1]
        counts[name] = max(1, math.ceil(SHORTEST / once))
        reports[name]["steps_per_repetition"] = counts[name]
        reports[name]["repetitions"] = min(REPETITIONS, max(FEWEST_REPETITIONS, int(BUDGET / (counts[name] * once))))
    for turn in range(max(report["repetitions"] for report in reports.values())):
        for name in names[:: 1 if turn % 2 == 0 else -1]:
            if turn < reports[name]["repetitions"]:
                cpu, wall = repeat(steps[name], counts[name])
                reports[name]["cpu_s"].append(cpu)
                reports[name]["wall_s"].append(wall)
    return reports


def memory(name: str, instance: dict[str, np.ndarray], horizon: int) -> dict[str, dict]:
    """Peak memory of this process after two gradient steps, and after the imports alone."""
    importlib.import_module(CONTESTANTS[name])
    imported = peak_mib()
    step, _ = prepare(name, instance, horizon)
    step()
    step()
    return {name: {"imported_mib": imported, "peak_mib": peak_mib()}}


def main() -> None:
    """Measure the contestants named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(CONTESTANTS))
    parser.add_argument("--instance", required=True, help="npz file of weights and initial states")
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--memory", action="store_true", help="peak memory of one contestant, instead of times")
    args = parser.parse_args()
    with np.load(args.instance) as arrays:
        instance = dict(arrays)
    if args.memory:
        reports = memory(args.names[0], instance, args.horizon)
    else:
        reports = timings(args.names, instance, args.horizon)
    print(json.dumps({"contestants": reports, "versions": versions()}))


if __name__ == "__main__":
    main()
