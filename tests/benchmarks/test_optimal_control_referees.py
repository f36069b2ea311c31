"""The questions about optimal control: generators, and referees against finite differences and closed forms."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SOLVERS = Path(__file__).resolve().parents[2] / "benchmarks" / "solvers"


def load(folder: str) -> tuple[ModuleType, ModuleType]:
    """`problem` and `referee` of a question; the latter imports the former by that name."""
    loaded, kept = [], sys.modules.pop("problem", None)
    for name in ("problem", "referee"):
        spec = importlib.util.spec_from_file_location(name, SOLVERS / folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        loaded.append(importlib.util.module_from_spec(spec))
        if name == "problem":
            sys.modules["problem"] = loaded[0]
        spec.loader.exec_module(loaded[-1])
    sys.modules.pop("problem")
    if kept is not None:
        sys.modules["problem"] = kept
    return loaded[0], loaded[1]


lq, lq_referee = load("bounded_lq")
quadrotor, quadrotor_referee = load("quadrotor_horizon")


def test_bounded_lq_draws_in_the_published_order() -> None:
    rng = np.random.RandomState(42)
    loose, tight = lq.instance(42, 1e4), lq.instance(42, 1.0)
    np.testing.assert_array_equal(loose["A"], np.eye(8) + 0.2 * rng.randn(8, 8))
    assert not np.array_equal(loose["A"], tight["A"]) and tight["x0"].shape == (128, 8)
    with pytest.raises(ValueError, match="`u_max`: got 2"):
        lq.instance(42, 2)


def small(u_max: float) -> dict[str, np.ndarray]:
    """Two of the instances, with milder dynamics."""
    data = {**lq.instance(42, 1.0, 2), "u_max": np.asarray(u_max)}
    return {**data, "A": 0.5 * data["A"]}


def test_exact_solutions_are_minima_within_the_bounds() -> None:
    data, steps = small(0.3), 5
    solutions, sets = lq_referee.exact(data, np.zeros((2, steps, 4)))
    assert np.all(np.isfinite(solutions)) and 0.1 < np.mean(sets) < 0.9
    u = solutions[:, lq_referee.System(data, steps).at_u].reshape(2, steps, 4)
    assert np.max(np.abs(u)) <= 0.3 + 1e-12
    np.testing.assert_allclose(lq_referee.errors(data, u + 1e-3, solutions), 1e-3)
    least, rng = lq_referee.objective(data, u), np.random.default_rng(0)
    for _ in range(20):
        other = np.clip(u + 0.01 * rng.standard_normal(u.shape), -0.3, 0.3)
        assert np.all(lq_referee.objective(data, other) >= least - 1e-12)


def test_sensitivities_are_those_of_finite_differences() -> None:
    data, steps, h = small(0.3), 5, 1e-6
    at_u = lq_referee.System(data, steps).at_u

    def first(changed: dict[str, np.ndarray]) -> float:
        solutions, _ = lq_referee.exact(changed, np.zeros((2, steps, 4)))
        return float(np.sum(solutions[:, at_u][:, :4]))

    found = lq_referee.sensitivities(data, *lq_referee.exact(data, np.zeros((2, steps, 4))))
    rng = np.random.default_rng(1)
    for name in ("A", "B", "b", "H"):
        along = rng.standard_normal(data[name].shape)
        slope = (first({**data, name: data[name] + h * along}) - first({**data, name: data[name] - h * along})) / (
            2 * h
        )
        assert np.sum(found[name] * along) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_quadrotor_hovers_and_falls() -> None:
    level, xp = np.zeros(12), quadrotor_referee.NUMPY
    np.testing.assert_allclose(quadrotor.step(level, np.full(4, quadrotor.HOVER), xp), 0.0, atol=1e-15)
    fallen = quadrotor.step(level, np.zeros(4), xp)
    assert fallen[2] == pytest.approx(-0.5 * 9.81 * quadrotor.DT**2) and fallen[5] == pytest.approx(
        -9.81 * quadrotor.DT
    )
    # More thrust on the second rotor than on the fourth rolls about the body's x axis.
    rolled = quadrotor.step(level, quadrotor.HOVER + np.array([0.0, 0.01, 0.0, -0.01]), xp)
    assert rolled[9] == pytest.approx(quadrotor.DT * 0.175 * 0.02 / 0.0023)


def test_quadrotor_reference_is_its_own_derivative_and_batches_are_nested() -> None:
    found = quadrotor.reference(200)
    slope = (found[2:, :3] - found[:-2, :3]) / (2 * quadrotor.DT)
    np.testing.assert_allclose(slope, found[1:-1, 3:6], atol=5e-3)
    small, large = quadrotor.instance(0, 10, 1), quadrotor.instance(0, 30, 64)
    np.testing.assert_array_equal(small["x0"], large["x0"][:1])


def test_quadrotor_referee_differentiates_the_lagrangian() -> None:
    data, rng, horizon = quadrotor.instance(0, 3, 1), np.random.default_rng(0), 3
    x = quadrotor.start(data)[0] + 0.05 * rng.standard_normal((horizon, 12))
    x[:, 2], x[:, 6:8] = 1.0, 0.1
    u, nu = 1.2 + 0.1 * rng.standard_normal((horizon, 4)), rng.standard_normal((horizon, 12))

    def lagrangian(x: np.ndarray, u: np.ndarray) -> float:
        before = np.concatenate([data["x0"], x[:-1]])
        defects = x - quadrotor.step(before, u, quadrotor_referee.NUMPY)
        return quadrotor_referee.objective(data, 0, x, u) + float(np.sum(nu * defects))

    largest, h = 0.0, 1e-6
    for v, others in ((x, lambda v: (v, u)), (u, lambda v: (x, v))):
        for at in np.ndindex(v.shape):
            high, low = v.copy(), v.copy()
            high[at] += h
            low[at] -= h
            slope = (lagrangian(*others(high)) - lagrangian(*others(low))) / (2 * h)
            column = at[1] if v is x else 12 + at[1]
            bounds = np.r_[quadrotor.X_LOWER, [0.0] * 4][column], np.r_[quadrotor.X_UPPER, [2.5] * 4][column]
            limit = bounds[0] if slope > 0 else bounds[1]
            largest = max(largest, abs(slope) * (abs(v[at] - limit) if np.isfinite(limit) else 1.0))
    found = quadrotor_referee.residuals(data, 0, x, u, nu)
    assert found["stationarity and complementarity"] == pytest.approx(largest, rel=1e-5)
    assert quadrotor_referee.residuals(data, 0, x, u + np.nan, nu)["largest"] == np.inf
