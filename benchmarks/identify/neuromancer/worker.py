"""Runs one part of one example in a process of its own: `python worker.py MODULE SEED PART FILE`."""

import importlib
import json
import sys
import time
from pathlib import Path

from harness import environment


def main(module: str, seed: str, part: str, file: str) -> None:
    """Write what the example found, with the CPU seconds of it all and the versions."""
    import jax

    # Off under pytest too: the examples' arithmetic is in float64 throughout.
    jax.config.update("jax_enable_x64", True)
    start = time.process_time()
    findings = importlib.import_module(f"examples.{module}").run(int(seed), part)
    seconds = time.process_time() - start
    found = [finding._asdict() for finding in findings]
    content = {"findings": found, "cpu_s": seconds, "versions": environment.versions()}
    Path(file).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
