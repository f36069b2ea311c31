"""What all tests share: float64, strict promotion, fixed keys, measured data where there is any."""

import gc
import os

# Before NumPy and SciPy load it: OpenBLAS's own threads and those of XLA would fight for the same cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# XLA's new fusion emitters double the time that most tests spend, which is compiling. A jaxlib that does not know the
# flag would abort, hence the check.
from importlib.metadata import version  # noqa: E402

if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import jax.random as jr  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import PRNGKeyArray  # noqa: E402

from tests.budget import Budgets, ROOT, settings  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options: a part of the suite, and what `tests/budget.py` does."""
    group = parser.getgroup("sciml")
    group.addoption("--fast", action="store_true", help="only the files and folders of `fast` in pyproject.toml")
    group.addoption("--check-budgets", action="store_true", help="fail if a folder exceeds its CPU budget by half")
    group.addoption("--costs", type=int, default=0, metavar="N", help="print the CPU seconds of the N costliest files")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--fast`, whatever lies neither in nor above the files and folders of the fast part."""
    if not config.option.fast:
        return None
    chosen = [ROOT / path for path in settings()["fast"]]
    if any(path == collection_path or path in collection_path.parents for path in chosen):
        return None
    return not any(collection_path in path.parents for path in chosen) or None


def pytest_configure(config: pytest.Config) -> None:
    """Counts CPU seconds."""
    config.pluginmanager.register(Budgets(config), "sciml-budgets")


@pytest.fixture(autouse=True, scope="module")
def few_compiled() -> Iterator[None]:
    """Forgets compiled functions after a file once they hold much of the memory maps that Linux allows a process.

    Every compiled function takes a few maps. A process that runs most of the suite would need more than the usual
    65,530, and the compiler would then end it.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 25_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey() -> Callable[[], PRNGKeyArray]:
    """A function that gives another key at each call, the same ones in every run."""
    count = 0

    def get() -> PRNGKeyArray:
        nonlocal count
        count += 1
        return jr.fold_in(jr.key(20_250_101), count)

    return get


@pytest.fixture
def key(getkey: Callable[[], PRNGKeyArray]) -> PRNGKeyArray:
    """One key, the same in every run."""
    return getkey()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No runtime type checker before the doors, so that a wrong kind of object meets what a user would meet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of measured records: `SCIML_DATA`, else `../shared/data` beside the repository; skips without one."""
    named = os.environ.get("SCIML_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"no measured data: {'SCIML_DATA names' if named else 'there is no'} {folder}"
            f"{', which is not a folder' if named else ''}; set SCIML_DATA to the folder that holds cascaded_tanks/"
        )
    return folder
