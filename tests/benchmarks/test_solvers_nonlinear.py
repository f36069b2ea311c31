"""Generators and referees of the questions about nonlinear programs."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from harness import referees

SOLVERS = Path(__file__).resolve().parents[2] / "benchmarks" / "solvers"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks under a name of its own: each question has a `problem`."""
    monkeypatch.syspath_prepend(SOLVERS)

    def find(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("nonlinear_" + path.replace("/", "_"), SOLVERS / f"{path}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return find


def difference(function, z: np.ndarray) -> np.ndarray:
    """Central differences of `function(z) -> [batch]` with respect to every entry of `z`, `[batch, n]`."""
    step, columns = 1e-6, np.eye(z.shape[1])
    return np.stack([(function(z + step * e) - function(z - step * e)) / (2 * step) for e in columns], axis=1)


def test_slope_of_rosenbrock_is_that_of_its_functions(load) -> None:
    problem, rng = load("rosenbrock/problem"), np.random.default_rng(0)
    data, z, ineq = problem.instance(0, 5), rng.standard_normal((5, 2)), rng.uniform(size=(5, 3))
    lagrangian = lambda z: problem.objective(data, z) + np.sum(ineq * problem.constraints(data, z), axis=1)
    np.testing.assert_allclose(problem.slope(data, z, ineq), difference(lagrangian, z), atol=1e-7)


def test_referee_accepts_the_free_minimum_of_rosenbrock(load) -> None:
    problem = load("rosenbrock/problem")
    data, z = {"a": np.array([1.0]), "p": np.array([1.8])}, np.ones((1, 2))
    zero = np.zeros((1, 3))
    parts = referees.conditions(problem.slope(data, z, zero), zero[:, :0], problem.constraints(data, z), zero)
    assert parts["largest"] == 0.0
    outside = referees.conditions(problem.slope(data, 2 * z, zero), zero[:, :0], problem.constraints(data, 2 * z), zero)
    assert outside["violation"] == pytest.approx(8 - 1.8**2)


def test_nonconvex_dc3_has_the_draws_of_the_convex_one(load) -> None:
    problem, convex = load("dc3_nonconvex/problem"), load("dc3_qp/problem")
    data, other = problem.instance(17, 3), convex.instance(17, 3)
    np.testing.assert_array_equal(np.diag(data["Q"]), other["Q"])
    np.testing.assert_array_equal(data["x"], other["b"])
    equality, inequality = problem.values(data, data["start"])
    np.testing.assert_allclose(equality, 0.0, atol=1e-12)
    assert np.all(inequality <= 0)  # the starts are feasible
    eq, ineq = np.ones((3, 50)), np.ones((3, 50))

    def lagrangian(y: np.ndarray) -> np.ndarray:
        return problem.objective(data, y) + sum(block.sum(axis=1) for block in problem.values(data, y))

    found = problem.slope(data, data["start"], eq, ineq)
    np.testing.assert_allclose(found, difference(lagrangian, data["start"]), atol=1e-6)


def small() -> dict[str, np.ndarray]:
    """minimise x₀ + x₁ subject to x₀ = x₁, 1 - x₁ <= 0, x₀ <= 5, at (1, 1): ν = -1, λ = 2."""
    rows = {"c": np.zeros(1), "C": np.array([[1.0, -1.0]]), "g": np.zeros(1), "G": np.array([[0.0, -1.0]])}
    return {**rows, "f": np.array(2.0), "slope": np.ones(2)}


def test_least_squares_multipliers_satisfy_the_referee(load) -> None:
    problem = load("hock_schittkowski/problem")
    x, lower, upper = np.ones(2), np.full(2, -np.inf), np.array([5.0, np.inf])
    duals = problem.multipliers(small(), x, lower, upper)
    np.testing.assert_allclose(duals["eq"], [-1.0])
    np.testing.assert_allclose(duals["ineq"], [2.0])
    judged = problem.judge(small(), x, duals, lower, upper)
    assert judged["largest"] == pytest.approx(0.0, abs=1e-12) and judged["objective"] == 2.0
    wrong = {**duals, "upper": np.array([0.0, 1.0])}  # of a bound that does not exist
    assert problem.judge(small(), x, wrong, lower, upper)["complementarity"] == 1.0
    assert problem.judge(small(), x, {**duals, "ineq": np.array([np.nan])}, lower, upper)["largest"] == np.inf
    # Nothing to find: no constraint, and no bound nearby.
    free = {"c": np.zeros(0), "C": np.zeros((0, 2)), "g": np.zeros(0), "G": np.zeros((0, 2)), "slope": np.ones(2)}
    assert not np.any(problem.multipliers(free, x, lower, upper)["upper"])


def test_optimum_counts_as_reached_where_feasible(load) -> None:
    problem = load("hock_schittkowski/problem")
    assert problem.reached(-30.00001, 1e-9, -30.0) and not problem.reached(-29.999, 0.0, -30.0)
    assert not problem.reached(-31.0, 1e-3, -30.0)


def test_interrupted_line_is_left_out(load, tmp_path: Path) -> None:
    problem = load("hock_schittkowski/problem")
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"name": "HS1", "x": [1.0]}) + '\n{"name": "HS2", "x"')
    assert list(problem.stored(path)) == ["HS1"] and problem.stored(tmp_path / "none.jsonl") == {}


def test_list_of_problems_starts_with_the_book(load) -> None:
    names = load("hock_schittkowski/problem").names()
    assert len(names) == len(set(names)) > 200 and names[0] == "HS1" and "HS118" in names


def test_mended_problem_has_the_published_optimum(load) -> None:
    mended = load("hock_schittkowski/mended").hs74(None)
    x = np.array([679.9453198512114, 1026.0671326104648, 0.11887636449310202, -0.3962335532032102])
    equality, inequality = mended.constraint(x)
    assert float(mended.objective(x, None)) == pytest.approx(5126.498109595271, rel=1e-9)
    np.testing.assert_allclose(equality, 0.0, atol=1e-9)
    assert np.all(np.asarray(inequality) >= 0)
