"""Generators and referees of the questions about quadratic programs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from harness import referees as referee

SOLVERS = Path(__file__).resolve().parents[2] / "benchmarks" / "solvers"


def load(path: str) -> ModuleType:
    """A module of the benchmarks under a name of its own: each question has a `problem`."""
    name = "solvers_" + path.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, SOLVERS / f"{path}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


dc3, dense, maros = load("dc3_qp/problem"), load("dense_qp/problem"), load("maros_meszaros/problem")


def test_dc3_generator_gives_the_published_draws() -> None:
    data = dc3.instance(17)
    rng = np.random.RandomState(17)
    np.testing.assert_array_equal(np.diag(data["Q"]), rng.random_sample(100))
    assert data["b"].shape == (833, 50) and np.all(np.abs(data["b"]) <= 1)
    # Feasible by construction: the least-norm solution of A y = x obeys G y <= h.
    y = data["b"] @ np.linalg.pinv(data["A"]).T
    assert np.all(y @ data["G"].T <= data["h"])


@pytest.mark.slow
def test_dc3_generator_gives_the_published_problem(data_dir: Path) -> None:
    with np.load(data_dir / "dc3_qp" / "dc3_simple_var100_ineq50_eq50_valid.npz") as file:
        data = dc3.instance(17, 1)
        for name in ("Q", "A", "G"):
            np.testing.assert_allclose(file[name][0], data[name], rtol=1e-12, atol=1e-12)


def test_copies_for_every_instance_leave_the_residuals_alone() -> None:
    data = dc3.instance(17, 3)
    rng = np.random.default_rng(0)
    z, eq, ineq = rng.standard_normal((3, 100)), rng.standard_normal((3, 50)), rng.standard_normal((3, 50))
    one, other = (referee.residuals(d, z, eq, ineq)["largest"] for d in (data, dc3.unshared(data)))
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("n", [4, 10])
def test_dense_programs_differ_and_are_strongly_convex(n: int) -> None:
    data = dense.instance(0, n, 3)
    assert np.all(np.linalg.eigvalsh(data["Q"]) >= 0.1 - 1e-9)
    assert np.ptp(data["G"], axis=0).min() > 0
    np.testing.assert_array_equal(dense.instance(0, n, 2)["h"], data["h"][:2])


def small() -> dict[str, np.ndarray]:
    """minimise ½|z|² - 3 z₀ subject to z₀ + z₁ = 1, z₀ <= 1: z = (1, 0), ν = 0, λ = 2."""
    matrix = {"Q": np.eye(2), "A": np.ones((1, 2)), "G": np.array([[1.0, 0.0]])}
    return {**matrix, "q": np.array([-3.0, 0.0]), "b": np.ones(1), "h": np.ones(1)}


def test_referee_accepts_the_solution_and_rejects_others() -> None:
    z, eq, ineq = np.array([1.0, 0.0]), np.zeros(1), np.array([2.0])
    assert referee.residuals(small(), z, eq, ineq)["largest"] == 0.0
    assert referee.residuals(small(), z, eq, -ineq)["sign"] == 2.0
    assert referee.residuals(small(), z + 0.5, eq, ineq)["violation"] == 1.0
    assert referee.residuals(small(), z * np.nan, eq, ineq)["largest"] == np.inf


def test_referee_differentiates_the_active_set() -> None:
    # z₀ = h is pinned and z₁ = b - h.
    slopes = referee.gradient(small(), np.array([1.0, 0.0]), np.array([2.0]), np.array([0.0, 3.0]))
    np.testing.assert_allclose(slopes["b"], [3.0])
    np.testing.assert_allclose(slopes["q"], [0.0, 0.0], atol=1e-12)


def test_rows_of_maros_meszaros_survive_the_split() -> None:
    # minimise ½|x|² + x₀ subject to 1 <= x₀ + x₁ <= 2, x₁ = 0.5 fixed, x₀ >= 0.
    rows = {"A": np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), "l": np.array([1.0, 0.0, 0.5])}
    data = {**rows, "u": np.array([2.0, np.inf, 0.5]), "P": np.eye(2), "q": np.array([1.0, 0.0]), "r": np.array([4.0])}
    arrays, came = maros.split(data)
    assert arrays["A"].shape == (1, 2) and arrays["G"].shape == (2, 2)
    np.testing.assert_array_equal(arrays["upper"], [np.inf, np.inf])
    # x = (0.5, 0.5), the multiplier of x₀ + x₁ >= 1 is 1.5, that of the fixed variable 1.
    y = maros.join(data, came, np.array([1.0]), np.array([0.0, 1.5]), np.zeros(2), np.zeros(2))
    found = maros.judge(data, np.array([0.5, 0.5]), y)
    assert found["largest"] == pytest.approx(0.0, abs=1e-12)
    assert found["objective"] == pytest.approx(4.75)
    assert maros.judge(data, np.array([0.5, np.nan]), y)["largest"] == np.inf
