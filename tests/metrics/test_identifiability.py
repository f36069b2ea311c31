"""Identifiability on models whose defect is known: products, absorbed rates, dead parameters; errors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.metrics import covariance, identifiability, sensitivities
from sciml.systems import AbstractContinuousSystem, discretise, RK4
from sciml.training import Bounded, Positive, resolve

TS = np.linspace(0.0, 2.0, 40)


def one(report: Any, name: str, of: str = "collinearity") -> float:
    return float(getattr(report, of)[report.names.index(name)])


# A straight line in two parameters: everything in closed form.
X = np.stack([np.ones(40), TS - 1.0], axis=1)


def test_a_regression_in_closed_form():
    theta = {"a": jnp.asarray(2.0), "b": jnp.asarray(-4.0)}
    jacobian = sensitivities(lambda p: p["a"] * X[:, 0] + p["b"] * X[:, 1], theta)
    np.testing.assert_allclose(jacobian, X, atol=1e-14)
    report = identifiability(theta, jacobian=jacobian, variance=0.25)
    # orthogonal columns (the times are centred): lengths 2 sqrt(40) and 4 sqrt(sum (t - 1)^2)
    lengths = np.array([2.0, 4.0]) * np.linalg.norm(X, axis=0)
    np.testing.assert_allclose(report.sensitivity, lengths, rtol=1e-13)
    np.testing.assert_allclose(report.eigenvalues, np.sort(lengths**2), rtol=1e-12)
    np.testing.assert_allclose(report.condition, lengths.max() ** 2 / lengths.min() ** 2, rtol=1e-12)
    np.testing.assert_allclose(report.collinearity, 1.0, rtol=1e-12)
    np.testing.assert_array_equal(report.absorbed, 1.0)
    np.testing.assert_allclose(report.relative_errors, 0.5 / lengths, rtol=1e-12)
    assert report.warning == "" and report.directions == ()


def test_inflation_and_errors_are_those_of_the_inverse():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) * [1e-3, 1.0, 1e2, 1.0]
    theta, residual = jnp.asarray([1e3, 2.0, 0.5, -1.0]), rng.normal(size=30)
    cov, errors = covariance(jnp.asarray(jacobian), jnp.asarray(residual))
    report = identifiability(theta, jacobian=jnp.asarray(jacobian), variance=residual @ residual / 26)
    np.testing.assert_allclose(report.relative_errors, errors / np.abs(theta), rtol=1e-10)
    # variance inflation factor: [JᵀJ]_ii [(JᵀJ)⁻¹]_ii
    vif = np.sum(jacobian**2, axis=0) * np.diag(np.linalg.inv(jacobian.T @ jacobian))
    np.testing.assert_allclose(report.collinearity, np.sqrt(vif), rtol=1e-9)
    assert report.names == ("parameter[0]", "parameter[1]", "parameter[2]", "parameter[3]")
    same = identifiability(theta, matrix=jnp.asarray(jacobian.T @ jacobian), variance=residual @ residual / 26)
    np.testing.assert_allclose(same.collinearity, report.collinearity, rtol=1e-6)  # the condition squared times eps
    np.testing.assert_allclose(same.eigenvalues, report.eigenvalues, rtol=1e-6)


def cooling(p: Any) -> Any:
    return jnp.exp(-TS / (p["R"] * p["C"])) * p["start"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("by_matrix", [False, True])
def test_a_product_is_named(dtype, by_matrix):
    fitted = {"C": jnp.asarray(2e4), "R": jnp.asarray(3e-5), "start": jnp.asarray(1.0)}
    jacobian = sensitivities(cooling, fitted).astype(dtype)
    given = {"matrix": jacobian.T @ jacobian} if by_matrix else {"jacobian": jacobian}
    report = identifiability(fitted, **given, variance=1.0)
    (direction,) = report.directions
    assert set(direction.names) == {"R", "C"}
    np.testing.assert_allclose(np.abs(direction.change), 0.5**0.5, rtol=1e-3)
    assert direction.change[0] > 0 > direction.change[1] and direction.collinearity > 1e2
    assert "only the product of" in report.warning and "`start`" not in report.warning
    assert one(report, "C") > 1e2 and one(report, "start") < 3
    if dtype == np.float64 and not by_matrix:
        assert np.isinf(one(report, "R")) and np.isinf(one(report, "R", "relative_errors"))
        assert report.condition == np.inf and "does not change the residuals" in report.warning


def test_transformed_parameters_are_reported_by_their_values():
    """The same report as of plain parameters, though the logarithm of C is 3.9 and that of R 0.7."""
    raw = {"C": Positive(50.0), "R": Positive(2.0), "start": Bounded(jnp.asarray([0.5]), 0.0, 4.0)}
    residuals = lambda p: jnp.exp(-50.0 * TS / (p["R"] * p["C"])) * p["start"]
    found = identifiability(raw, jacobian=sensitivities(lambda p: residuals(resolve(p)), raw), variance=1.0)
    plain = resolve(raw)
    expected = identifiability(plain, jacobian=sensitivities(residuals, plain), variance=1.0)
    assert found.names == expected.names == ("C", "R", "start[0]")
    np.testing.assert_allclose(found.sensitivity, expected.sensitivity, rtol=1e-12)
    # The sign of a direction is free.
    assert len(found.warning) == len(expected.warning) and "only the product of" in found.warning
    edge = {"a": eqx.tree_at(lambda b: b.raw, Bounded(1.0, 0.0, 2.0), jnp.asarray(1e3))}
    with pytest.raises(ValueError, match="`parameters`: got 'a', whose value does not respond"):
        identifiability(edge, jacobian=jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="`limit`: got nan"):
        identifiability(plain, jacobian=jnp.ones((3, 3)), limit=float("nan"))


def test_a_parameter_without_influence_and_a_ratio():
    fitted = {"a": jnp.asarray(2.0), "b": jnp.asarray(4.0), "dead": jnp.asarray([1.0])}
    residuals = lambda p: (p["a"] / p["b"]) * TS + 0.0 * p["dead"]
    report = identifiability(fitted, jacobian=sensitivities(residuals, fitted), variance=1.0)
    assert [d.names for d in report.directions] == [("dead[0]",), ("a", "b")]
    np.testing.assert_allclose(report.directions[1].change, 0.5**0.5, rtol=1e-10)  # both grow alike
    assert "`dead[0]` has no influence" in report.warning and "only ratios of `a`, `b`" in report.warning
    np.testing.assert_array_equal(report.relative_errors, np.inf)


class Brusselator(AbstractContinuousSystem):
    """`dx1 = alpha + N(x) - beta x1 - x1`, `dx2 = beta x1 - N(x)`: `N` can absorb `(beta - 3) x1`."""

    alpha: Any
    beta: Any
    rate: Any

    def vector_field(self, t, x, u):
        rate = jnp.reshape(self.rate(x), ())
        return jnp.stack([self.alpha + rate - (self.beta + 1) * x[0], self.beta * x[0] - rate])


@pytest.fixture(scope="module")
def universal() -> tuple[Brusselator, Any]:
    """The universal ODE and the Jacobian of its one-step residuals on a grid of states."""
    net = eqx.nn.MLP(2, 1, width_size=10, depth=2, activation=jax.nn.gelu, key=jr.key(0))
    model = Brusselator(jnp.asarray(1.0), jnp.asarray(3.0), net)
    states = jnp.stack(jnp.meshgrid(jnp.linspace(0.3, 3.0, 12), jnp.linspace(0.8, 5.0, 12)), axis=-1).reshape(-1, 2)
    truth = lambda x: discretise(Brusselator(1.0, 3.0, lambda x: x[1] * x[0] ** 2), RK4(), dt=0.1).step(0.0, x, None)
    ends = jax.vmap(truth)(states)

    def residuals(model: Brusselator, data: Any) -> Any:
        plant = discretise(model, RK4(), dt=0.1)
        return jax.vmap(lambda x, end: plant.step(0.0, x, None) - end)(*data)

    return model, eqx.filter_jit(sensitivities)(residuals, model, (states, ends))


@pytest.mark.parametrize("by_matrix", [False, True])
def test_the_network_of_a_universal_ode_absorbs_one_rate_and_not_the_other(universal, by_matrix):
    model, jacobian = universal
    given = {"matrix": jacobian.T @ jacobian} if by_matrix else {"jacobian": jacobian}
    report = identifiability(model, **given)
    assert report.names == ("alpha", "beta")
    # alpha enters one equation only, the network both with opposite signs: it can undo no more than half
    assert one(report, "beta", "absorbed") > 1e3 and one(report, "alpha", "absorbed") < 2
    assert one(report, "beta") > 1e3 and one(report, "alpha") < 2
    assert "network can undo" in report.warning and "`beta`" in report.warning and "`alpha`" not in report.warning
    assert [d.names for d in report.directions] == [("beta",)]


def test_without_the_network_both_rates_are_determined(universal):
    model, jacobian = universal
    alone = {"alpha": model.alpha, "beta": model.beta}
    assert identifiability(alone, jacobian=jacobian[:, :2]).warning == ""


def test_an_unknown_rate_beside_a_network_and_the_selection_of_a_network():
    """`dx = -k x + N(x)`: the network is a table of values, not of `equinox.nn`."""
    states = np.linspace(0.1, 2.0, 50)
    model = {"k": jnp.asarray(0.7), "table": jnp.zeros(20), "offset": jnp.asarray(1.0)}

    def residuals(p):
        knots = jnp.linspace(0.1, 2.0, 20)
        return -p["k"] * states + jnp.interp(states, knots, p["table"]) + p["offset"] * jnp.sin(30 * states)

    jacobian = sensitivities(residuals, model)
    report = identifiability(model, jacobian=jacobian, network=lambda m: m["table"])
    assert report.names == ("k", "offset") and np.isinf(one(report, "k", "absorbed"))
    assert one(report, "offset", "absorbed") < 30 and "`k`" in report.warning and "`offset`" not in report.warning
    several = identifiability(model, jacobian=jacobian, network=lambda m: [m["table"], m["offset"]])
    assert several.names == ("k",)


RC = [(0, 1), (1, 2), (0, 2)]


def test_the_products_of_an_rc_network():
    """`C_i dx_i = Σ (x_j - x_i) / R_ij`: all `C` up and all `R` down by one factor changes nothing."""
    fitted = {"C": jnp.asarray([5.0, 7.0, 4.0]), "R": jnp.asarray([0.3, 0.5, 0.2])}
    states = jr.normal(jr.key(0), (20, 3))

    def rates(p, x):
        flows = jnp.stack([(x[j] - x[i]) / p["R"][k] for k, (i, j) in enumerate(RC)])
        net = jnp.zeros(3)
        for k, (i, j) in enumerate(RC):
            net = net.at[i].add(flows[k]).at[j].add(-flows[k])
        return net / p["C"]

    residuals = lambda p: jax.vmap(lambda x: rates(p, x))(states)
    report = identifiability(fitted, jacobian=sensitivities(residuals, fitted))
    (direction,) = report.directions
    assert set(direction.names) == set(report.names) and np.isinf(direction.collinearity)
    assert "only the products of" in report.warning and "`C[1]`" in report.warning and "`R[2]`" in report.warning
    sign = {name: np.sign(change) for name, change in zip(direction.names, direction.change, strict=True)}
    assert {sign[f"C[{i}]"] for i in range(3)} == {-sign["R[0]"]} and {sign[f"R[{i}]"] for i in range(3)} == {
        sign["R[0]"]
    }


def test_long_lists_are_cut():
    fitted = {"gain": jnp.ones(10), "scale": jnp.asarray(1.0)}
    jacobian = sensitivities(lambda p: jnp.outer(TS, p["scale"] * p["gain"]), fitted)
    report = identifiability(fitted, jacobian=jacobian)
    assert "and 5 more" in report.warning


EYE = jnp.eye(3)[:, :2]


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({}, "`jacobian, matrix`: got neither"),
        ({"jacobian": EYE, "matrix": jnp.eye(2)}, "`jacobian, matrix`: got both"),
        ({"jacobian": jnp.eye(3)}, r"`jacobian`: got shape \(3, 3\); expected \(residuals, 2\)"),
        ({"matrix": EYE}, r"`matrix`: got shape \(3, 2\); expected \(2, 2\)"),
        ({"jacobian": EYE * jnp.nan}, "`jacobian`: got numbers that are NaN"),
        ({"jacobian": EYE * 1e155}, "or overflow when squared; expected finite numbers"),
        ({"matrix": -jnp.eye(2)}, "`matrix`: got a matrix with the negative eigenvalue"),
        ({"jacobian": EYE, "limit": 0.5}, "`limit`: got 0.5"),
        ({"jacobian": EYE, "variance": 0.0}, "`variance`: got 0.0"),
        ({"jacobian": EYE, "network": lambda m: m}, "`parameters`: got no floating-point array outside of the network"),
    ],
)
def test_bad_input_is_named(unchecked, arguments, match):
    with pytest.raises(ValueError, match=match):
        identifiability(jnp.ones(2), **arguments)
