"""Where a contestant runs: one thread, one processor, folders, versions, and the commit of this library."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository
BENCHMARKS = ROOT / "benchmarks"
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
PACKAGES = (
    "jax", "jaxlib", "equinox", "diffrax", "optimistix", "lineax", "optax", "moreau", "mpax", "qpax", "proxsuite",
    "piqp", "osqp", "casadi", "torch", "neuromancer", "scipy", "numpy",
)  # fmt: skip


def paths(folder: Path) -> list[str]:
    """What a question's modules import from: its folder, the folder of its group, `benchmarks/`, the repository."""
    return [str(place) for place in (folder, folder.parent, BENCHMARKS, ROOT)]


def child(folder: Path, *, x64: bool = True, **more: str) -> dict[str, str]:
    """The environment of a contestant's process: one thread, on the CPU."""
    python_path = os.pathsep.join(paths(folder))
    fixed = {"JAX_ENABLE_X64": str(int(x64)), "PYTHONPATH": python_path, "PYTHONSAFEPATH": "1"}
    return {**os.environ, **ONE_THREAD, **fixed, **more}


def pin(core: int | None = None) -> None:
    """One processor for this process and its children: libraries that ignore thread counts obey this."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if core is None else core})


def data_folder() -> Path:
    """`SCIML_DATA`, or `../shared/data` beside the repository."""
    named = os.environ.get("SCIML_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


@functools.cache
def commit(root: Path = ROOT) -> str | None:
    """The commit of this library: its short hash, with `dirty` where files of `sciml/` are not as committed.

    None outside a repository. It is read once, when a run begins.
    """
    git = lambda *words: subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    head, changes = git("rev-parse", "--short=7", "HEAD"), git("status", "--porcelain", "--", "sciml")
    if head.returncode or changes.returncode:
        return None
    return head.stdout.strip() + " dirty" * bool(changes.stdout.strip())


def required(folder: Path) -> list[str]:
    """The packages that a question's `rivals/requirements.txt` names."""
    file = folder / "rivals" / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return [name.group() for name in names if name]


def versions(extra: Iterable[str] = (), *, imported: bool = True) -> dict[str, str]:
    """Python and the packages of `PACKAGES` and `extra` that this process has imported, or that are installed here."""
    found = {"python": platform.python_version()}
    for name in dict.fromkeys([*PACKAGES, *extra]):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        modules = {name.replace("-", "_").lower(), *(distribution.read_text("top_level.txt") or "").split()}
        if not imported or modules & set(sys.modules):
            found[name] = distribution.version
    return found
