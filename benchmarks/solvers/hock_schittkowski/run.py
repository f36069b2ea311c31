"""Small constrained problems of CUTEst, one at a time: runs every contestant, judges all answers, writes the results.

    python benchmarks/solvers/hock_schittkowski/run.py --rivals-python PATH

`PATH` is the Python of an environment with this library's dependencies and `rivals/requirements.txt`; the problems are
in `sif2jax`, so that every contestant runs there. Answers are kept, one line for each, in `results/raw/`: an
interrupted run continues where it stopped. With `--names` or `--only` the rows go nowhere unless `--out` names a file.
"""

import argparse
import json
import select
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import harness  # noqa: E402
import problem  # noqa: E402
from harness import row  # noqa: E402

CONTESTANTS = {
    "InteriorPoint": ("ours", "interior_point"),
    "SQP": ("ours", "sqp"),
    "AugmentedLagrangian": ("ours", "augmented_lagrangian"),
    "SciPy SLSQP": ("rivals.scipy_solvers", "slsqp"),
    "SciPy trust-constr": ("rivals.scipy_solvers", "trust_constr"),
    "IPOPT": ("rivals.ipopt", "ipopt"),
}
OURS = ("InteriorPoint", "SQP", "AugmentedLagrangian")
LIMIT = 300.0  # seconds of wall time for one problem, compilation included
TARGET = 55  # of the 60 verified optima
# Hundreds of programs run once each, so that compile time matters: this halves it. Fewer optimisations still
# (`--xla_backend_optimization_level=0`) make the compilation of HS70 hang. A later jaxlib does not know the flag.
QUICK = "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""


def environment() -> dict[str, str]:
    """One thread, float64, quick to compile."""
    return harness.child(HERE, XLA_FLAGS=f"{harness.ONE_THREAD['XLA_FLAGS']} {QUICK}")


def collect(python: str, who: str, names: list[str], path: Path) -> None:
    """Answers of one contestant to every problem that the file lacks; a process that stays silent is started anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in names if name not in problem.stored(path)]
    while waiting:
        command = [python, str(HERE / "each.py"), *CONTESTANTS[who], *waiting]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            while waiting and process.poll() is None:
                ready, _, _ = select.select([process.stdout], [], [], LIMIT)
                line = process.stdout.readline() if ready else ""
                if not line:
                    process.kill()
                    process.wait()  # the next problem is for the next process
                    said = "the process ended" if ready else f"no answer within {LIMIT:g} s"
                    failed = {"name": waiting[0], "x": None, "claimed": False, "said": said, "steps": 0}
                    line = json.dumps(failed) + "\n"
                with path.open("a", encoding="utf-8") as file:
                    file.write(line)
                answer = json.loads(line)
                waiting.remove(answer["name"])
                took = f"{answer['cpu_s']:.1f} CPU-s" if "cpu_s" in answer else "killed"
                print(f"{who}: {answer['name']}: {answer['said']}, {answer['steps']} steps, {took}", flush=True)


def verdicts(python: str, names: list[str], folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the referee says of every answer, by contestant and problem; it runs where `sif2jax` is.

    A referee that ends early is started anew after the problem that it was at; that problem stays unjudged, aloud.
    """
    judged: dict[str, dict[str, dict[str, Any]]] = {who: {} for who in CONTESTANTS}
    waiting = list(names)
    while waiting:
        command = [python, str(HERE / "referee_all.py"), str(folder), *waiting]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=False)
        for line in done.stdout.splitlines():
            found = json.loads(line)
            waiting.remove(found["name"])
            for who, verdict in found["verdicts"].items():
                judged[who][found["name"]] = verdict
        if waiting:
            print(f"no verdict: {waiting.pop(0)}: the referee ended", file=sys.stderr)
    return {who: found for who, found in judged.items() if found}


def beside(values: dict[str, float], who: str) -> dict[str, float | None]:
    """One of our solvers and the rivals."""
    return {harness.OURS: values.get(who), **{name: value for name, value in values.items() if name not in OURS}}


def group_rows(item: str, judged: dict[str, dict[str, dict[str, Any]]], names: list[str]) -> list[dict[str, Any]]:
    """Verified successes, and claims that are none, over a list of problems; one row for each of our solvers."""
    count = lambda test: {
        who: sum(bool(test(found[name])) for name in names if name in found) for who, found in judged.items()
    }
    passed = count(lambda v: v["claimed"] and v["largest"] <= problem.TOLERANCE)
    false = count(lambda v: v["claimed"] and not v["largest"] <= problem.TOLERANCE)
    rows = []
    for who in OURS:
        mine = f"{item}, {who}"
        missing = {"failures": len(names) - passed.get(who, 0)}
        words = f"claimed successes that the referee confirms at {problem.TOLERANCE:g}"
        rows.append(row(mine, words, beside(passed, who), better="higher", **missing))
        rows.append(row(mine, "claimed successes that the referee rejects", beside(false, who), target=0))
    return rows


def optimum_rows(
    judged: dict[str, dict[str, dict[str, Any]]], facts: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """How many verified optima are reached, and what becomes of the rest."""
    best = lambda v, name: problem.reached(v["objective"], v["violation"], facts[name]["f_star"])
    reached = {who: sum(best(found[n], n) for n in facts if n in found) for who, found in judged.items()}
    other = {
        who: sum(found[n]["largest"] <= problem.TOLERANCE and not best(found[n], n) for n in facts if n in found)
        for who, found in judged.items()
    }
    rows = []
    for who in OURS:
        mine = f"{len(facts)} problems with a verified optimum, {who}"
        target = TARGET if len(facts) == 60 else None
        rows.append(row(mine, "reach the optimal value", beside(reached, who), target=target, better="higher"))
        rows.append(row(mine, "end at another KKT point", beside(other, who)))
    return rows


def time_rows(judged: dict[str, dict[str, dict[str, Any]]], names: list[str]) -> list[dict[str, Any]]:
    """Median CPU seconds of a problem, compilation included: what one small program costs from nothing."""
    median = {}
    for who, found in judged.items():
        times = [found[name]["cpu_s"] for name in names if name in found and found[name]["cpu_s"] is not None]
        if times:
            median[who] = float(np.median(times))
    words = "CPU time of one problem from nothing, median"
    return [row(f"all, {who}", words, beside(median, who), unit="s") for who in OURS if who in median]


def failures(judged: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """One line for each answer that the referee does not confirm."""
    lines = []
    for who, found in judged.items():
        for name, v in found.items():
            if not (v["claimed"] and v["largest"] <= problem.TOLERANCE):
                word = "FALSE CLAIM" if v["claimed"] else "failed"
                lines.append(f"{who}: {name}: {word}: {v['said']}; {v['steps']} steps; residual {v['largest']:.2e}")
    return lines


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals-python", default=sys.executable, help="Python of the environment with sif2jax")
    parser.add_argument("--names", nargs="+", help="problems (default: all of names.csv)")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), help="contestants (default: all)")
    parser.add_argument("--core", type=int, help="processor to pin every process to (default: the first allowed)")
    parser.add_argument("--raw", type=Path, default=HERE / "results" / "raw", help="folder of the kept answers")
    parser.add_argument("--out", type=Path, help="default, for a complete run only: results/hock_schittkowski.json")
    args = parser.parse_args()
    if args.out is None and not args.names and not args.only:
        args.out = HERE / "results" / "hock_schittkowski.json"
    return args


def versions(python: str) -> dict[str, str]:
    """Of the packages in the environment that ran."""
    code = "import harness, json; print(json.dumps(harness.versions(imported=False)))"
    done = subprocess.run([python, "-c", code], env=environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Collect, judge, print, write."""
    args = arguments()
    harness.pin(args.core)
    names = args.names or problem.names()
    facts = {name: fact for name, fact in problem.facts().items() if name in names}
    for who in args.only or CONTESTANTS:
        collect(args.rivals_python, who, names, args.raw / f"{CONTESTANTS[who][1]}.jsonl")
    judged = verdicts(args.rivals_python, names, args.raw)
    rows = optimum_rows(judged, facts) if facts else []
    schittkowski = [name for name in names if name.startswith("HS")]
    rows += group_rows(f"{len(schittkowski)} of Hock & Schittkowski", judged, schittkowski)
    rows += group_rows(f"all {len(names)}", judged, names) + time_rows(judged, names)
    record = {"versions": versions(args.rivals_python), "failures": []}
    rows = harness.finish([r for r in rows if r["value"] is not None], record, harness.command(HERE))
    print("\n".join(failures(judged)))
    harness.show(rows)
    if args.out is not None:
        harness.write(args.out, rows)
        harness.write(args.raw / "verdicts.json", judged)


if __name__ == "__main__":
    main()
