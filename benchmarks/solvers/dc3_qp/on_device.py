"""This library alone on JAX's default device, a GPU for instance: prints wall times and what the referee confirms.

    python benchmarks/solvers/dc3_qp/on_device.py

It needs no rivals and writes nothing; install a `jax` for the device first. `--lanes 64` is a quick look.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_ENABLE_X64", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[2])]

import jax  # noqa: E402
import numpy as np  # noqa: E402
import ours  # noqa: E402
import ours_admm  # noqa: E402
import problem  # noqa: E402
from harness import referees  # noqa: E402
from run import CASES, instance  # noqa: E402

REPETITIONS = 11
CONTESTANTS = {"InteriorPointQP": ours, "ADMM": ours_admm}


def wall(action) -> float:
    """Milliseconds of one call, the median of several."""
    times = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def main() -> None:
    """All cases, on both seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=problem.TESTED, help="instances, counted from the last")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(problem.SEEDS))
    args = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.platform}: {device.device_kind}; {args.lanes} instances in a batch", flush=True)
    for case in CASES:
        for seed in args.seeds:
            data = instance(case, seed, args.lanes)
            limit = 1.01 * problem.tolerance(data)
            for name, contestant in CONTESTANTS.items():
                if name == "ADMM" and "nothing shared" in case:
                    continue  # it is for shared matrices
                actions, _ = contestant.prepare(data)
                found = {key: np.asarray(value) for key, value in actions["forward"]().items()}
                largest = referees.residuals(data, found["z"], found["eq"], found["ineq"])["largest"]
                print(
                    f"{case}, seed {seed}, {name}: forward {wall(actions['forward']):.2f} ms, forward and backward "
                    f"{wall(actions['both']):.2f} ms, {np.sum(largest <= limit)} solved at {limit / 1.01:g}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
