"""The door of `solve`: what it refuses, what it raises, warm starts, float32."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, message, RESULTS
from sciml.programs import kkt_residual, OptimalControl, Program
from sciml.solvers import InteriorPoint, Smoothed, solve


def cost(z, p):
    return (z[0] - 1) ** 2 + p * (z[1] - z[0] ** 2) ** 2


DISC = Program(cost, ineq=lambda z, p: jnp.sum(z**2) - 1.0, lower=-2.0, upper=2.0)
Z0 = jnp.array([0.1, 0.2])


def test_program_and_solver_must_be_objects():
    door = getattr(solve, "__wrapped__", solve)  # in the tests a runtime type checker stands before the door
    with pytest.raises(TypeError, match=r"`program`: got a function; expected a `Program`.*sciml.Program\(objective\)"):
        door(cost, InteriorPoint(), Z0, 1.0)
    problem = OptimalControl(lambda x, u, w, p: x, stage=lambda x, u, w, p: u, initial=lambda p: p, horizon=1)
    with pytest.raises(TypeError, match=r"`program`: got a OptimalControl; .*transcribe\(problem\)` for a solver"):
        door(problem, InteriorPoint(), Z0, 1.0)
    with pytest.raises(TypeError, match=r"`solver`.*expected a solver object.*InteriorPoint\(\)"):
        door(DISC, InteriorPoint, Z0, 1.0)
    with pytest.raises(TypeError, match=r"`adjoint`.*wrap it, as in `KKTAdjoint"):
        door(DISC, InteriorPoint(), Z0, 1.0, adjoint=Smoothed(1e-3))
    with pytest.raises(ValueError, match="`mu`: got -0.001; expected a positive barrier parameter"):
        Smoothed(-1e-3)


def test_decision_must_be_numeric():
    with pytest.raises(ValueError, match=r"`z0\['name'\]`: got a str; expected a number or an array"):
        solve(DISC, InteriorPoint(), {"name": "text"}, 1.0)

    with pytest.raises(ValueError, match="`z0`: got None; expected numbers to start from"):
        solve(DISC, InteriorPoint(), None, 1.0)


def test_instance_must_be_numeric():
    with pytest.raises(ValueError, match=r"`p\['name'\]`: got a str; expected numbers and arrays.*close over"):
        solve(DISC, InteriorPoint(), Z0, {"name": "text"})


def test_objective_must_be_a_scalar():
    with pytest.raises(ValueError, match=r"`objective`: got float64\[2\]; expected one real scalar.*sum or average"):
        solve(Program(lambda z, p: z), InteriorPoint(), Z0)


@pytest.mark.parametrize("block", ["ineq", "eq"])
def test_constraints_must_be_residuals(block: str):
    program = Program(lambda z, p: jnp.sum(z), **{block: lambda z, p: {"sum": jnp.sum(z) <= 1.0}})
    with pytest.raises(ValueError, match=rf"`{block}\['sum'\]`: got dtype bool.*instead of a comparison"):
        solve(program, InteriorPoint(), Z0)


def test_bounds_must_fit_and_agree():
    with pytest.raises(ValueError, match=r"`lower`: got shape \(3,\); expected a shape that broadcasts"):
        solve(Program(cost, lower=jnp.zeros(3)), InteriorPoint(), Z0, 1.0)
    with pytest.raises(ValueError, match=r"`upper`: got the structure .* or a prefix of it"):
        solve(Program(cost, upper={"a": 1.0}), InteriorPoint(), Z0, 1.0)
    with pytest.raises(ValueError, match=r"`lower`: got lower = 1.0 > upper = 0.5 at entry \(0,\).*swap the two"):
        solve(Program(cost, lower=1.0, upper=0.5), InteriorPoint(), Z0, 1.0)


@pytest.mark.parametrize("dtype", [float, jnp.float32])
def test_bounds_of_a_record_that_contradict_each_other(dtype):
    z0, at = {"x": dtype(0.0), "y": dtype(0.0)}, {"x": 1.0, "y": None}
    low = lambda bound: Program(lambda z, p: z["x"] ** 2 + z["y"] ** 2, lower=bound, upper=0.5)
    with pytest.raises(ValueError, match=r"`lower\['x'\]`: got lower = 1.0 > upper = 0.5; expected lower <= upper"):
        solve(low(at), InteriorPoint(), z0)
    with pytest.raises(ValueError, match=r"`lower\['y'\]`: got lower = 2.0 > upper = 0.5; .*Likely fix: swap the two"):
        solve(low(lambda p: {"x": p, "y": 2 * p + 2}), InteriorPoint(), z0, 0.0)


def test_a_batch_that_raises_says_which_instances_failed():
    program = Program(lambda z, p: z**2, ineq=lambda z, p: {"low": 1.0 - z, "high": z - p})
    run = jax.jit(jax.vmap(lambda p: solve(program, InteriorPoint(), 0.0, p).value))
    with pytest.raises(
        RuntimeError, match=r"1 of 3 instances failed, at index 1:\n  1 `RESULTS.infeasible`: .*not feas"
    ):
        jax.block_until_ready(run(jnp.array([2.0, 0.0, 3.0])))
    np.testing.assert_allclose(run(jnp.array([2.0, 1.5, 3.0])), 1.0, atol=1e-6)


def test_failure_raises_its_cause_and_cure():
    with pytest.raises(eqx.EquinoxRuntimeError, match="NaN or infinite at the start"):
        solve(Program(lambda z, p: jnp.log(z)), InteriorPoint(), -1.0)
    assert "Relax a constraint" in message(RESULTS.infeasible)


answer = eqx.filter_jit(lambda p, warm=None, max_steps=256, z0=Z0: solve(
    DISC, InteriorPoint(), z0, p, warm=warm, max_steps=max_steps, throw=False
))  # fmt: skip


def test_step_limit_is_a_result():
    short = answer(jnp.asarray(100.0), None, 2)
    assert short.result == RESULTS.max_steps_reached
    assert int(short.stats.steps) == 2 and not bool(short.stats.has_derivative)


def test_warm_start_takes_fewer_steps():
    cold = answer(jnp.asarray(100.0))
    warm = answer(jnp.asarray(101.0), cold.state)
    again = answer(jnp.asarray(101.0))
    assert warm.result == RESULTS.successful
    assert int(warm.stats.steps) < int(again.stats.steps)
    np.testing.assert_allclose(warm.value, again.value, atol=1e-7)


def test_reported_residual_is_that_of_the_program():
    solution = answer(jnp.asarray(100.0))
    residual = kkt_residual(DISC, solution.value, solution.duals, jnp.asarray(100.0))
    assert float(residual.largest) == pytest.approx(float(solution.stats.residual.largest), abs=1e-12)
    assert bool(is_successful(solution.result)) and float(residual.largest) <= 1e-8


def test_float32_meets_its_own_tolerance():
    single = answer(jnp.asarray(100.0, jnp.float32), None, 256, Z0.astype(jnp.float32))
    assert single.value.dtype == jnp.float32 and single.result == RESULTS.successful
    assert float(single.stats.residual.largest) <= 1e-3
    np.testing.assert_allclose(single.value, answer(jnp.asarray(100.0)).value, atol=1e-2)


def test_numbers_in_place_of_arrays_do_not_recompile():
    count = 0

    def counted(z, p):
        nonlocal count
        count += 1
        return (z[0] - p) ** 2 + z[1] ** 2

    program = Program(counted)
    values = [solve(program, InteriorPoint(), [0.0, 1.0], 2.0).value]
    first = count
    values += [solve(program, InteriorPoint(), [0.5, 0.0], p).value for p in (3.0, 4.0)]
    assert count == first
    np.testing.assert_allclose(jnp.stack([v[0] for v in values]), [2.0, 3.0, 4.0], atol=1e-7)
