"""The benchmarks stand outside any package: their shared modules are found by the path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # at collection: test modules import `harness` and load questions


@pytest.fixture(scope="session", autouse=True)
def benchmarks_path() -> Iterator[None]:
    """`benchmarks/` on the path while tests run."""
    yield
    sys.path.remove(str(BENCHMARKS))
