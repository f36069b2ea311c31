"""What identification costs: a ragged batch beside a loop, many starts beside one, and the first step of each model.

    python benchmarks/identify/costs/run.py [--only ragged,starts,first]

Every measurement runs in a process of its own, on one thread, in float64; rows go to `results/costs.json`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import environment, rows as results, storing  # noqa: E402

HERE = Path(__file__).resolve().parent
QUESTIONS = ("ragged", "starts", "first")
TEMPLATES = ("neural ODE", "grey box", "state space", "Hammerstein-Wiener", "GRU", "liquid time constant", "linear")


def ask(question: str, part: str = "") -> dict:
    """What a fresh process measures."""
    words = [sys.executable, str(HERE / "worker.py"), question, part]
    done = subprocess.run(words, env=environment.child(HERE), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def ragged() -> tuple[list, dict]:
    """50 records of 100 to 300 uneven samples of a van der Pol oscillator."""
    found = ask("ragged")
    item = "50 ragged records"
    return [
        results.row(item, "times faster than a loop, compilation included", {results.OURS: found["with_compilation"]},
                    better="higher", target=5.0),
        results.row(item, "times faster than a loop over padded records", {results.OURS: found["compiled"]},
                    better="higher", target=5.0),
        results.row(item, "largest difference from the loop", {results.OURS: found["difference"]}, target=1e-8),
    ], found["versions"]  # fmt: skip


def starts() -> tuple[list, dict]:
    """A neural state space of 79 trained parameters on 300 samples."""
    rows, versions = [], {}
    for part, target in (("LM", 12.0), ("Adam", 4.0)):
        found = ask("starts", part)
        versions = found["versions"]
        item = f"64 starts beside one, {part}"
        rows.append(results.row(item, "CPU time, ratio", {results.OURS: found["ratio"]}, target=target))
        rows.append(results.row(item, "CPU time, ratio with compilation", {results.OURS: found["with_compilation"]}))
    return rows, versions


def first() -> tuple[list, dict]:
    """The first step of a fit, compilation included."""
    rows, versions = [], {}
    for name in TEMPLATES:
        found = ask("first", name)
        versions = found["versions"]
        rows.append(
            results.row(f"first step, {name}", "CPU time of Adam", {results.OURS: found["adam"]}, unit="s", target=5.0)
        )
        rows.append(
            results.row(f"first step, {name}", "CPU time of LM", {results.OURS: found["lm"]}, unit="s", target=10.0)
        )
    return rows, versions


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(QUESTIONS), help="comma-separated")
    chosen = parser.parse_args().only.split(",")
    for question in chosen:
        rows, versions = globals()[question]()
        done = results.finish(rows, {"versions": versions, "failures": []}, "python benchmarks/identify/costs/run.py")
        results.show(done)
        storing.merge(HERE / "results" / "costs.json", results.finite(done))


if __name__ == "__main__":
    main()
