"""Print every benchmark row, met or missed, and write the tables that README and docs include.

    python benchmarks/report.py            # print, and rewrite the tables between the markers
    python benchmarks/report.py --check    # change nothing, exit 1 if a table is stale

A page includes the results of `benchmarks/TASK/QUESTION/results/*.json` between two markers, each on its own line
(`TASK/QUESTION/on_device` stands for those of `results/on_device/*.json`):

    <!-- results:TASK/QUESTION -->
    <!-- /results -->

Words after the name keep the rows whose item or metric contains them all, and `targets` keeps those with a target:
`<!-- results:rollout targets "batch 32" "seed 0" -->`.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIELDS = set("item metric value unit target better rivals failures versions commit device date command".split())
COMMIT = re.compile(r"[0-9a-f]{7,40}( dirty)?")
BLOCK = re.compile(r"^<!-- results:(?P<what>[^\n]*?) -->\n(?P<table>.*?)^<!-- /results -->$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

Row = dict[str, Any]


def load(root: Path) -> dict[str, list[Row]]:
    """The rows of all files by question; those in `results/on_device/` are a question of their own."""
    questions: dict[str, list[Row]] = {}
    for path in sorted((root / "benchmarks").glob("**/results/**/*.json")):
        folder, _, kind = path.parent.relative_to(root / "benchmarks").as_posix().partition("/results")
        if kind not in ("", "/on_device"):  # raw data are not rows
            continue
        question = folder + kind
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            if set(row) != FIELDS or row["better"] not in ("lower", "higher"):
                raise ValueError(
                    f"`{path.relative_to(root)}`: got a row with {sorted(row)}; expected {sorted(FIELDS)} and `better` "
                    "lower or higher. Likely fix: run the benchmark again"
                )
            if row["commit"] is not None and not COMMIT.fullmatch(row["commit"]):
                raise ValueError(
                    f"`{path.relative_to(root)}`: got the commit {row['commit']!r}; expected a short hash, with "
                    "` dirty` after it where the library had changes, or null where it is not known. "
                    "Likely fix: `harness.finish`, which looks it up"
                )
        questions.setdefault(question, []).extend(rows)
    return questions


def verdict(row: Row) -> str:
    """`met`, `missed`, or nothing where there is no target."""
    if row["target"] is None:
        return ""
    if row["value"] is None:
        return "missed"
    met = row["value"] <= row["target"] if row["better"] == "lower" else row["value"] >= row["target"]
    return "met" if met else "missed"


def number(value: float | None) -> str:
    """Three significant digits; a dash for no value."""
    if value is None:
        return "–"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goal(row: Row) -> str:
    """The target with its direction."""
    return "" if row["target"] is None else f"{'≤' if row['better'] == 'lower' else '≥'} {number(row['target'])}"


def select(rows: list[Row], words: list[str]) -> list[Row]:
    """The rows whose item or metric contains every word; `targets` keeps the rows that have one."""
    kept = [row for row in rows if row["target"] is not None] if "targets" in words else rows
    plain = [word for word in words if word != "targets"]
    return [row for row in kept if all(word in f"{row['item']}\n{row['metric']}" for word in plain)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _part(rows: list[Row]) -> list[str]:
    """The table of one metric, with only the columns that say something."""
    rivals = list(dict.fromkeys(name for row in rows for name in row["rivals"]))
    unit = "" if rows[0]["unit"] == "1" else f" [{rows[0]['unit']}]"
    columns = [("item", [row["item"] for row in rows]), (f"sciml{unit}", [number(row["value"]) for row in rows])]
    columns += [(name, [number(row["rivals"].get(name)) for row in rows]) for name in rivals]
    columns += [("target", [goal(row) for row in rows]), ("", [verdict(row) for row in rows])]
    columns.append(("failures", [str(row["failures"]) if row["failures"] else "" for row in rows]))
    columns = [(title, cells) for title, cells in columns if any(cells)]
    lines = [_line([title for title, _ in columns]), _line(["---"] + ["---:"] * (len(columns) - 1))]
    return lines + [_line([cells[i] for _, cells in columns]) for i in range(len(rows))]


def table(rows: list[Row]) -> str:
    """Markdown: one table for each metric, then where the numbers come from."""
    if not rows:
        return ""
    lines: list[str] = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        lines += [f"**{metric}**", "", *_part([row for row in rows if row["metric"] == metric]), ""]
    lines += [f"{line}\n" for line in sorted({origin(row) for row in rows})]
    return "\n".join(lines)


def origin(row: Row) -> str:
    """Where a number comes from, in words."""
    known = (row["commit"] or "not recorded").replace(" dirty", " with uncommitted changes")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(row["versions"].items()))
    return f"{row['device']}, {row['date']}, commit {known}, {versions}: `{row['command']}`"


def fill(text: str, questions: dict[str, list[Row]]) -> str:
    """`text` with every table between its markers replaced; blocks inside code fences are left alone."""
    fences = [match.span() for match in FENCE.finditer(text)]

    def replace(match: re.Match[str]) -> str:
        if any(start <= match.start() < stop for start, stop in fences):
            return match.group()
        question, *words = shlex.split(match["what"])
        if question not in questions:
            raise ValueError(
                f"`results:{question}`: got no such question; expected one of {sorted(questions)}. "
                "Likely fix: run its benchmark, or correct the name"
            )
        rows = select(questions[question], words)
        if not rows:
            raise ValueError(f"`results:{match['what']}`: got no row; expected at least one. Likely fix: fewer words")
        return f"<!-- results:{match['what']} -->\n{table(rows)}\n<!-- /results -->"

    return BLOCK.sub(replace, text)


def pages(root: Path) -> list[Path]:
    """The Markdown pages that may include results."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("benchmarks/**/*.md")]
    return sorted(path for path in found if "<!-- results:" in path.read_text(encoding="utf-8"))


def summary(questions: dict[str, list[Row]]) -> str:
    """Every row on a line, then the count."""
    lines = []
    for question, rows in questions.items():
        for row in rows:
            rivals = ", ".join(f"{name} {number(value)}" for name, value in row["rivals"].items())
            parts = [f"{question}: {row['item']}: {row['metric']} = {number(row['value'])} {row['unit']}"]
            parts += [rivals, f"{goal(row)} {verdict(row)}".strip()]
            parts.append(f"{row['failures']} failures" if row["failures"] else "")
            lines.append("; ".join(part for part in parts if part))
    verdicts = [verdict(row) for rows in questions.values() for row in rows]
    return "\n".join([*lines, f"{verdicts.count('met')} targets met, {verdicts.count('missed')} missed"])


def update(root: Path, *, check: bool) -> list[Path]:
    """The pages whose tables are stale; they are rewritten unless `check`."""
    questions = load(root)
    stale = []
    for path in pages(root):
        text = path.read_text(encoding="utf-8")
        new = fill(text, questions)
        if new != text:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    return stale


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a table is stale")
    args = parser.parse_args(argv)
    stale = update(root, check=args.check)
    print(summary(load(root)))
    for path in stale:
        print(f"{'stale' if args.check else 'written'}: {path.relative_to(root)}", file=sys.stderr)
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
