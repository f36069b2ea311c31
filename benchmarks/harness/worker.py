"""One fresh process: prepares a contestant on one instance, then acts and times itself on request, in JSON lines.

    python -m harness.worker FOLDER MODULE INSTANCE.npz [CASE]      # with what `environment.paths` says on PYTHONPATH

A contestant is a module with `prepare(arrays) -> (actions, compile_s)`: `actions` maps a name to a function without
arguments that returns a dictionary of arrays, ready on the host; `compile_s` maps names to CPU seconds of compilation.
In a question with cases it is `prepare(case, arrays)` with the module `cases/CASE.py`; None means: not for this case.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment, timing

Action = Callable[[], dict[str, Any]]


def answer(actions: dict[str, Action], request: dict[str, Any]) -> dict[str, Any]:
    """Run an action `count` times, or once with its arrays saved at `save`; its times."""
    action, found = actions[request["action"]], {}
    if "save" in request:
        cpu, wall = timing.repeat(lambda: found.update(action()))
        np.savez(request["save"], **{name: np.asarray(value) for name, value in found.items()})
    else:
        cpu, wall = timing.repeat(action, request["count"])
    return {"cpu_s": cpu, "wall_s": wall}


def main() -> None:
    """Serve until the requests end."""
    folder, module, instance, *case = sys.argv[1:]
    replies, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not mix with the replies
    with np.load(instance) as file:
        arguments = [*(importlib.import_module(f"cases.{name}") for name in case), dict(file)]
    prepared = importlib.import_module(module).prepare(*arguments)
    actions, compile_s = prepared if prepared is not None else ({}, {})
    found = environment.versions(environment.required(Path(folder))) if actions else {}
    hello = {"actions": list(actions), "compile_s": compile_s, "versions": found}
    print(json.dumps(hello), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(actions, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
