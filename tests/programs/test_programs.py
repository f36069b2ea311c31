"""Programs, bounds, helpers, multipliers, violations and the table that describes them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.losses import AugmentedLagrangian, Penalty
from sciml.metrics import violations
from sciml.programs import (
    between,
    bounds,
    cost,
    describe,
    Duals,
    elastic,
    ge,
    kkt_residual,
    lagrangian,
    le,
    Program,
    violation,
)
from sciml.solvers import InteriorPoint, solve, solve_batch


class Z(NamedTuple):
    x: Array
    y: Array


class P(NamedTuple):
    radius: Array


PROGRAM = Program(
    lambda z, p: jnp.sum(z.x**2) + z.y**2,
    ineq=lambda z, p: {"outer": le(jnp.sum(z.x**2), p.radius**2), "y": ge(z.y, 1.0)},
    eq=lambda z, p: z.x[0] - z.x[1],
    lower=Z(0.0, None),
    upper=lambda p: Z(p.radius, jnp.inf),
)
AT = Z(jnp.array([1.0, -2.0]), jnp.asarray(0.5))


def test_helpers_get_the_sign_right():
    assert float(le(3.0, 2.0)) == 1.0 and float(ge(3.0, 2.0)) == -1.0
    np.testing.assert_allclose(between(0.0, jnp.array([-1.0, 0.5, 3.0]), 1.0), [[1.0, -0.5, -3.0], [-2.0, -0.5, 2.0]])


def test_bounds_broadcast_from_prefixes_and_functions():
    low, high = bounds(PROGRAM, AT, P(jnp.asarray(2.0)))
    np.testing.assert_array_equal(low.x, [0.0, 0.0])
    np.testing.assert_array_equal(high.x, [2.0, 2.0])
    assert low.y == -jnp.inf and high.y == jnp.inf


def test_violation_names_what_is_violated():
    report = violation(PROGRAM, AT, P(jnp.asarray(2.0)))
    assert report.ineq == {"outer": 1.0, "y": 0.5}
    assert report.eq == 3.0 and report.largest == 3.0
    np.testing.assert_array_equal(report.lower.x, [0.0, 2.0])


def test_residual_of_a_hand_made_solution():
    """min x² subject to x >= 1: λ = 2 as an inequality or as a bound; every block notices its own error."""
    program = Program(lambda z, p: z**2, ineq=lambda z, p: 1.0 - z, lower=-3.0)
    at = lambda z, multiplier, below: kkt_residual(
        program, jnp.asarray(z), Duals(jnp.asarray(multiplier), (), jnp.asarray(below), jnp.asarray(0.0)), None
    )
    assert at(1.0, 2.0, 0.0).largest == 0.0
    assert at(1.0, 1.5, 0.0).stationarity == 0.5
    assert at(0.5, 1.0, 0.0).feasibility == 0.5
    assert at(1.0, 2.0, 0.25).complementarity == 1.0
    assert at(1.0, -2.0, 4.0).dual_sign == 2.0


def test_lagrangian_is_its_definition():
    duals = Duals({"outer": jnp.asarray(2.0), "y": jnp.asarray(3.0)}, jnp.asarray(-1.0), None, None)
    # f + λᵀg + νh = 5.25 + 2·1 + 3·0.5 - 3
    assert lagrangian(PROGRAM, AT, duals, P(jnp.asarray(2.0))) == pytest.approx(5.25 + 2.0 + 1.5 - 3.0)


def test_description_names_every_leaf(capsys):
    table = describe(PROGRAM, AT, P(jnp.asarray(2.0)))
    assert capsys.readouterr().out.strip() == table.strip()
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["z.x"] == ["(2,)", "float64"]
    assert {"z.y", "p.radius", "lower.x", "upper.y", "objective", "ineq['outer']", "ineq['y']", "eq"} <= set(rows)


def forgets(z, p):
    le(jnp.sum(z), 1.0)  # and no `return`


def forgets_one(z, p):
    return {"sum": forgets(z, p), "least": -z}


ZS = jnp.zeros((3, 2))
DOORS = {
    "solve": lambda program: solve(program, InteriorPoint(), ZS[0]),
    "solve_batch": lambda program: solve_batch(program, InteriorPoint(), ZS, None, in_axes=None),
    "violations": lambda program: violations(program, ZS, None, in_axes=None),
    "violation": lambda program: violation(program, ZS[0], None),
    "Penalty": lambda program: Penalty(program)(lambda p: p, ZS),
    "AugmentedLagrangian": lambda program: AugmentedLagrangian(program)(lambda p: p, ZS),
    "describe": lambda program: describe(program, ZS[0]),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("block", ["ineq", "eq"])
def test_a_constraint_that_returns_none_is_an_error(door, block):
    for function, name in ((forgets, block), (forgets_one, rf"{block}\['sum'\]")):
        program = Program(lambda z, p: jnp.sum(z**2), **{block: function})
        with pytest.raises(
            ValueError, match=rf"`{name}`: got a function that returned None; .*end the function with `re"
        ):
            DOORS[door](program)


@pytest.mark.parametrize("door", sorted(set(DOORS) - {"violation"}))
def test_an_objective_that_returns_none_is_an_error(door):
    with pytest.raises(ValueError, match="`objective`: got None; expected one real scalar.*with `return`"):
        DOORS[door](Program(forgets))


def test_elastic_constraints_that_return_none_are_an_error():
    soft = elastic(Program(lambda z, p: jnp.sum(z**2), ineq=forgets), ineq=1.0)
    with pytest.raises(ValueError, match="`ineq`: got a function that returned None"):
        soft.start(ZS[0])


def test_comparisons_are_no_residuals_for_losses_either():
    with pytest.raises(ValueError, match="`ineq`: got dtype bool; expected a real residual, feasible where it is <= 0"):
        Penalty(Program(lambda z, p: jnp.sum(z), ineq=lambda z, p: z <= 1.0))(lambda p: p, ZS)


def test_functions_of_a_program_are_functions(unchecked):
    with pytest.raises(TypeError, match="`objective`: got None; expected a function `.z, p. -> scalar`"):
        Program(None)
    with pytest.raises(
        TypeError, match=r"`ineq`: got an array of shape \(2,\); expected a function .* or None.*without"
    ):
        Program(forgets, ineq=jnp.ones(2))


def test_no_constraint_is_fine():
    program = Program(lambda z, p: jnp.sum(z**2), ineq=None, eq=None)
    assert cost(program, jnp.ones(2), None) == 2.0
    np.testing.assert_array_equal(violations(program, ZS, None, in_axes=None), 0.0)
