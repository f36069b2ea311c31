"""NeuroMANCER's dynamical models, judged by free runs that training did not see.

    python benchmarks/identify/neuromancer/run.py                    # every example, two seeds
    python benchmarks/identify/neuromancer/run.py --only O1,O6 --seeds 0
    python benchmarks/identify/neuromancer/run.py --only O11/two_tank

Every example is a file in `examples/`, `ID_words.py`, with `TITLE`, `run(seed, part) -> findings` and, where it
falls into parts that run one by one, `PARTS`. A new file there is found by itself. Rows go to `results/id.json`, in
the place of those of the same item; each part runs in a process of its own, on one thread, in float64.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import environment, examples, rows as results, storing  # noqa: E402

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1)
COMMAND = "python benchmarks/identify/neuromancer/run.py"
RIVAL = "NeuroMANCER 1.5.6"


class Example(NamedTuple):
    """A file of `examples/`."""

    name: str
    module: str
    title: str
    parts: tuple[str, ...]


def found() -> list[Example]:
    """All examples, in the order of their numbers; read without importing JAX."""
    return sorted((_example(stem) for stem in examples.stems(HERE / "examples")), key=_order)


def _example(stem: str) -> Example:
    tree = ast.parse((HERE / "examples" / f"{stem}.py").read_text(encoding="utf-8"))
    named = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    values = {node.targets[0].id: node.value for node in named if node.targets[0].id in ("TITLE", "PARTS")}
    parts = ast.literal_eval(values["PARTS"]) if "PARTS" in values else ("",)
    return Example(stem.partition("_")[0].capitalize(), stem, ast.literal_eval(values["TITLE"]), parts)


def _order(example: Example) -> tuple[str, int, str]:
    digits = "".join(filter(str.isdigit, example.name))
    return example.name[0], int(digits), example.name


def chosen(only: str | None) -> list[tuple[Example, str]]:
    """The examples and parts that were asked for: `O1,O11/two_tank`."""
    known = found()
    if only is None:
        return [(example, part) for example in known for part in example.parts]
    picked = []
    for word in only.split(","):
        name, _, part = word.strip().partition("/")
        matching = [example for example in known if example.name == name.capitalize()]
        if not matching or (part and part not in matching[0].parts):
            names = ", ".join(example.name for example in known)
            raise SystemExit(f"--only: got {word!r}; expected some of {names}, or one with /PART")
        picked += [(matching[0], p) for p in ([part] if part else matching[0].parts)]
    return picked


def measure(example: Example, part: str, seed: int) -> dict[str, Any] | None:
    """What one part found, in a fresh process; None if that ended with an error."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        words = [sys.executable, str(HERE / "worker.py"), example.module, str(seed), part, str(file)]
        done = subprocess.run(words, env=environment.child(HERE), check=False)
        return json.loads(file.read_text(encoding="utf-8")) if done.returncode == 0 else None


def rows_of(example: Example, part: str, seed: int, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one part, CPU time included."""
    rows = []
    for finding in content["findings"]:
        rival = finding.pop("rival")
        words = [f"{example.name} {example.title}", part, finding.pop("part"), f"seed {seed}"]
        values = {results.OURS: finding.pop("value")} | ({} if rival is None else {RIVAL: rival})
        rows.append(results.row(", ".join(filter(None, words)), finding.pop("metric"), values, **finding))
    words = [f"{example.name} {example.title}", part, f"seed {seed}"]
    spent = {results.OURS: content["cpu_s"]}
    rows.append(results.row(", ".join(filter(None, words)), "CPU time of everything", spent, unit="s"))
    return results.finite(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the examples one after the other; print and store the rows after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="IDS", help="comma-separated, such as O1,O11/two_tank; all by default")
    seeds = ",".join(map(str, SEEDS))
    parser.add_argument("--seeds", default=seeds, help="comma-separated; the last is one that nothing was tuned on")
    parser.add_argument("--core", type=int, help="processor to pin to; any by default")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the rows")
    args = parser.parse_args(argv)
    if args.core is not None:
        environment.pin(args.core)
    failures = []
    for example, part in chosen(args.only):
        for seed in map(int, args.seeds.split(",")):
            content = measure(example, part, seed)
            if content is None:
                failures.append(f"{example.name} {part} seed {seed}")
                continue
            record = {"versions": content["versions"], "failures": []}
            rows = results.finish(rows_of(example, part, seed, content), record, f"{COMMAND} --only {example.name}")
            for row in rows:
                rivals = "".join(f"; {name} {value:.4g}" for name, value in row["rivals"].items())
                goal = "" if row["target"] is None else f" (target {row['target']:g}{rivals})"
                value = "–" if row["value"] is None else f"{row['value']:.4g}"
                print(f"{row['item']}: {row['metric']}: {value} {row['unit']}{goal}", flush=True)
            storing.merge(args.out / f"{example.name.lower()}.json", rows)
    if failures:
        raise SystemExit("ended with an error: " + ", ".join(failures))


if __name__ == "__main__":
    main()
