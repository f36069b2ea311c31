"""Execute notebooks and store their outputs.

    python notebooks/execute.py notebooks/start/first_program.ipynb ...   these
    python notebooks/execute.py --changed                                 start/, and those whose inputs changed
    python notebooks/execute.py --all                                     all
    ... --check                                                           execute, write nothing
    ... --cache FOLDER                                                    keep what is compiled there, for the next time

A notebook's inputs are its code and the source of those `sciml` packages that it names, with all that they import;
their hash is stored in its metadata at each execution. Notebooks run in an empty folder.
"""

import argparse
import ast
import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent


def package_of(module: str) -> str:
    """`sciml.solvers._loop` -> `solvers`; the top itself is ``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "sciml" / parts[1]).is_dir() else ""


def imports(tree: ast.AST, module: str, is_package: bool) -> dict[str, str]:
    """The names that a source file gets from `sciml`, each with the module that it comes from."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name: a.name for a in node.names if a.name.startswith("sciml.")}
        elif isinstance(node, ast.ImportFrom):
            anchor = module.split(".") if is_package else module.split(".")[:-1]
            base = anchor[: len(anchor) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if source.split(".")[0] == "sciml":
                found |= {a.asname or a.name: f"{source}.{a.name}" if source == "sciml" else source for a in node.names}
    return found


def dependencies(package: str) -> set[str]:
    """The packages of `sciml` that the files of one import."""
    files = sorted((ROOT / "sciml" / package).rglob("*.py"))
    named = set()
    for path in files:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found = imports(ast.parse(text), module, path.name == "__init__.py")
        named |= {package_of(source) for source in found.values()}
        if re.search(r"^import sciml$", text, re.MULTILINE):
            named |= named_packages(text)
    return named - {"", package}


def named_packages(code: str) -> set[str]:
    """The packages that a notebook names: `sciml.losses.Mean`, `from sciml.nn import ...`, the face's `sciml.solve`."""
    face = imports(ast.parse((ROOT / "sciml" / "__init__.py").read_text(encoding="utf-8")), "sciml", True)
    words = set(re.findall(r"\bsciml\.(\w+)", code))
    for names in re.findall(r"\bfrom sciml import ([^\n]+)", code):
        words |= set(re.findall(r"\w+", names))
    homes = {package_of(face.get(word, f"sciml.{word}")) for word in words}
    return homes - {""}


def inputs(notebook: nbformat.NotebookNode) -> str:
    """Hash of all that the outputs depend on inside this repository."""
    code = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    reached, waiting = set(), named_packages(code)
    while waiting:
        package = waiting.pop()
        reached.add(package)
        waiting |= dependencies(package) - reached
    digest = hashlib.sha256(code.encode())
    for package in sorted(reached):
        for path in sorted((ROOT / "sciml" / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def execute(path: Path, *, check: bool, timeout: int) -> bool:
    """Run one notebook; store its outputs unless `check`. Returns whether it ran to its end."""
    notebook = nbformat.read(path, as_version=4)
    stamp = inputs(notebook)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
        )
        try:
            client.execute()
        except CellExecutionError as error:
            print(f"  failed after {time.perf_counter() - start:.0f} s: {path}\n{error}", flush=True)
            return False
    print(f"  {time.perf_counter() - start:5.0f} s  {path}", flush=True)
    if not check:
        for cell in notebook.cells:
            if "outputs" in cell:  # warnings and progress bars speak of the machine, with its paths
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata["sciml"] = {"inputs": stamp}
        part = path.with_suffix(".part")
        nbformat.write(notebook, part)
        part.replace(path)
    return True


def is_changed(path: Path) -> bool:
    """Whether a notebook is a start notebook, or was never executed with the inputs that it has now."""
    notebook = nbformat.read(path, as_version=4)
    stored = notebook.metadata.get("sciml", {}).get("inputs")
    return path.is_relative_to(FOLDER / "start") or stored != inputs(notebook)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Execute notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--all", action="store_true", help="every notebook")
    parser.add_argument("--changed", action="store_true", help="start/, and those whose inputs changed")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--cache", metavar="FOLDER", help="keep what is compiled there (default: off)")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds for a cell (default: %(default)s)")
    options = parser.parse_args()
    if not (options.notebooks or options.all or options.changed):
        parser.error("name notebooks, or say --changed or --all")
    chosen = [path.resolve() for path in options.notebooks]
    if options.all or options.changed:
        known = [p for p in sorted(FOLDER.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
        chosen += [path for path in known if path not in chosen and (options.all or is_changed(path))]
    if not chosen:
        print("notebooks: nothing to run")
        return 0
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # the kernels see this checkout, installed or not
    if options.cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.abspath(options.cache)
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    failed = [path for path in chosen if not execute(path, check=options.check, timeout=options.timeout)]
    print(f"notebooks: {len(chosen) - len(failed)} of {len(chosen)} ran to their end")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
