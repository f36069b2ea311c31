"""One process: solves problems one after the other, one JSON line for each.

python each.py MODULE FUNCTION NAME...     # with the question's folder and the repository on PYTHONPATH
"""

import gc
import importlib
import json
import sys
import time

import jax
import numpy as np
import problem


def attempt(solve, name):
    """What a contestant returns for one problem, or the exception that it raised."""
    one = problem.Problem(name)
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        found = solve(one)
        found = {
            key: np.asarray(v).tolist() if isinstance(v, (np.ndarray, jax.Array)) else v for key, v in found.items()
        }
    except Exception as error:  # whatever a contestant raises is its failure, not the benchmark's
        found = {"x": None, "claimed": False, "said": f"{type(error).__name__}: {error}"[:300], "steps": 0}
    return {"name": name, **found, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def main():
    """Solve and print; compiled code is dropped after each problem, since it adds up."""
    module, function, *names = sys.argv[1:]
    replies, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not mix with the replies
    solve = getattr(importlib.import_module(module), function)
    for name in names:
        print(json.dumps(attempt(solve, name)), file=replies, flush=True)
        jax.clear_caches()
        gc.collect()


if __name__ == "__main__":
    main()
