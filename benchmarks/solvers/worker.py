"""One fresh process: prepares a contestant on one instance, then acts and times itself on request, in JSON lines.

    python worker.py MODULE INSTANCE.npz      # with the question's folder on PYTHONPATH

A contestant is a module with `prepare(arrays) -> (actions, compile_s)`: `actions` maps a name to a function without
arguments that returns a dictionary of arrays, ready on the host; `compile_s` maps names to CPU seconds of compilation.
"""

import importlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "optimistix",
    "lineax",
    "moreau",
    "qpax",
    "proxsuite",
    "piqp",
    "osqp",
    "casadi",
    "numpy",
)

Action = Callable[[], dict[str, Any]]


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[], Any], float]:
    """`function(*arguments)` compiled as a call that blocks until ready, and the CPU seconds of the compilation."""
    import jax

    start = time.process_time()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.process_time() - start
    return lambda: jax.block_until_ready(compiled(*arguments)), seconds


def versions() -> dict[str, str]:
    """Python and the packages that are installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def repeat(action: Action, count: int) -> tuple[float, float]:
    """CPU and wall seconds of one call, averaged over `count` calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        action()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def answer(actions: dict[str, Action], request: dict[str, Any]) -> dict[str, Any]:
    """Run an action: `count` times for its times, or once for its arrays, saved at `save`."""
    action = actions[request["action"]]
    if "save" in request:
        np.savez(request["save"], **{name: np.asarray(value) for name, value in action().items()})
        return {}
    cpu, wall = repeat(action, request["count"])
    return {"cpu_s": cpu, "wall_s": wall}


def main() -> None:
    """Serve until the requests end."""
    module, instance = sys.argv[1:]
    replies, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not mix with the replies
    with np.load(instance) as arrays:
        actions, compile_s = importlib.import_module(module).prepare(dict(arrays))
    print(
        json.dumps({"actions": list(actions), "compile_s": compile_s, "versions": versions()}), file=replies, flush=True
    )
    for line in sys.stdin:
        print(json.dumps(answer(actions, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
