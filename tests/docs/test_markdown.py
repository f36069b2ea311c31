"""Prose that runs: every Python block of the README and of the docs, page by page.

The blocks of a page are one program, executed in order in a fresh interpreter in an empty folder, as a reader would:
default precision, default warnings. A block opened with "```python no-run" is shown and not executed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if p.exists()]
BLOCK = re.compile(r"^(?P<indent>[ ]*)```python[ ]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)


def program(text: str) -> str:
    """The page as a program: its blocks at their own lines, so that a traceback names the line of the page."""
    lines = [""] * (text.count("\n") + 2)
    for match in BLOCK.finditer(text):
        start = text.count("\n", 0, match.start("code"))
        for i, line in enumerate(match["code"].splitlines()):
            lines[start + i] = line.removeprefix(match["indent"])
    return "\n".join(lines)


PROGRAMS = {page.relative_to(ROOT).as_posix(): program(page.read_text(encoding="utf-8")) for page in PAGES}


def test_blocks_keep_their_lines_and_no_run_is_skipped():
    page = "a\n```python\nx = 1\n```\n```python no-run\nboom\n```\n  ```python\n  y = x\n  ```\n"
    assert program(page).splitlines() == ["", "", "x = 1", "", "", "", "", "", "y = x", "", ""][: len(page)]


@pytest.mark.parametrize("page", [page for page, code in PROGRAMS.items() if code.strip()])
def test_page_runs(page: str, tmp_path: Path):
    code = f"exec(compile({PROGRAMS[page]!r}, {page!r}, 'exec'), globals())"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env |= {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "agg"}
    script = tmp_path / "page.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{page}\n{done.stdout}\n{done.stderr}"
