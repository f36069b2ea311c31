"""A `Guess` with multipliers: as good a start as the state that it came from, and errors by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful
from sciml.programs import Program
from sciml.solvers import AugmentedLagrangian, BoxNewton, Guess, InteriorPoint, solve, SQP


def cost(z, p):
    return (1 - z["a"]) ** 2 + p * (z["b"] - z["a"] ** 2) ** 2 + z["c"] ** 2


def disc(z, p):
    return {"disc": z["a"] ** 2 + z["b"] ** 2 - 1.0, "free": z["a"] - 5.0}


PROGRAM = Program(
    cost, ineq=disc, eq=lambda z, p: z["a"] + z["b"] + z["c"] - 1.0, lower={"a": -2.0, "b": -2.0, "c": 0.3}
)
Z0 = {"a": jnp.array(0.0), "b": jnp.array(0.0), "c": jnp.array(1.0)}


@pytest.mark.parametrize("solver", [SQP(), InteriorPoint(), AugmentedLagrangian()], ids=lambda s: type(s).__name__)
def test_multipliers_are_worth_as_much_as_the_state(solver):
    run = jax.jit(lambda p, warm: solve(PROGRAM, solver, Z0, p, warm=warm, throw=False))
    cold = run(100.0, None)
    guess = Guess(cold.value, cold.duals)
    again, after = run(100.0, guess), run(101.0, guess)
    assert is_successful(again.result) and is_successful(after.result)
    for name in "abc":
        np.testing.assert_allclose(again.value[name], cold.value[name], atol=1e-7)
    np.testing.assert_allclose(after.duals.lower["c"], cold.duals.lower["c"], rtol=1e-2)
    assert again.stats.steps <= min(2, int(cold.stats.steps))
    assert after.stats.steps <= max(1, int(cold.stats.steps) // 2)


def test_bad_multipliers():
    cold = solve(PROGRAM, SQP(), Z0, 100.0)
    with pytest.raises(ValueError, match="`warm.duals.ineq`: got 0 multipliers; expected 2. Likely fix: shape it like"):
        other = solve(Program(cost), SQP(), Z0, 1.0)
        solve(PROGRAM, SQP(), Z0, 100.0, warm=Guess(cold.value, other.duals))
    with pytest.raises(TypeError, match="`warm`: got a `Guess` with multipliers for BoxNewton; expected a state"):
        solve(Program(cost), BoxNewton(), Z0, 1.0, warm=Guess(cold.value, cold.duals))
    with pytest.raises(TypeError, match="`warm`: got a `Guess` for SQP; .*give multipliers too, or race it"):
        solve(PROGRAM, SQP(), Z0, 100.0, warm=Guess(cold.value))
