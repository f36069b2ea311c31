"""`Race`: the better start runs, instance by instance, and answers do not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful
from sciml.programs import Program, QuadraticProgram
from sciml.solvers import Guess, InteriorPoint, InteriorPointQP, Race, solve, solve_batch


def cost(z, p):
    return (1 - z[0]) ** 2 + p * (z[1] - z[0] ** 2) ** 2


PROGRAM = Program(cost, ineq=lambda z, p: z[0] + z[1] - 1.8, lower=-2.0, upper=2.0)
PS = jnp.geomspace(1.0, 50.0, 8)
Z0S = jnp.tile(jnp.array([-1.2, 1.0]), (8, 1))
BAD = jnp.arange(8) % 2 == 1


def run(solver, ps=PS, z0s=Z0S, **options):
    return solve_batch(PROGRAM, solver, z0s, ps, progress=False, **options)


@pytest.fixture(scope="module")
def cold():
    return run(InteriorPoint())


def test_a_good_guess_wins_and_a_bad_one_loses(cold):
    # Half of a predictor's answers are close, half far away; some of them are not even finite.
    guess = jnp.where(BAD[:, None], jnp.array([-1.9, -1.9]), cold.value - 1e-3).at[1].set(jnp.nan)
    race = run(Race(InteriorPoint()), warm=Guess(guess))
    assert bool(jnp.all(is_successful(race.result)))
    np.testing.assert_allclose(race.value, cold.value, atol=1e-7)
    np.testing.assert_array_equal(race.stats.steps[BAD], cold.stats.steps[BAD])
    assert bool(jnp.all(race.stats.steps <= cold.stats.steps))
    # Good guesses for a curved valley save half of the way.
    assert int(jnp.sum(race.stats.steps[~BAD])) < 0.7 * int(jnp.sum(cold.stats.steps[~BAD]))


def test_states_race_too_and_through_slots(cold):
    far = jax.tree.map(lambda a: jnp.where(BAD.reshape(-1, *[1] * (a.ndim - 1)), a[::-1], a), cold.state)
    # The same instances a little later; every second one is offered the state of another instance.
    later = PS * 1.01
    alone, race = run(InteriorPoint(), later), run(Race(InteriorPoint()), later, warm=far, slots=3)
    assert bool(jnp.all(is_successful(race.result)))
    np.testing.assert_allclose(race.value, alone.value, atol=1e-7)
    assert bool(jnp.all(race.stats.steps[~BAD] < alone.stats.steps[~BAD]))


def test_without_a_rival_it_is_the_solver(cold):
    race = solve(PROGRAM, Race(InteriorPoint()), Z0S[0], PS[0])
    np.testing.assert_allclose(race.value, cold.value[0], atol=1e-12)
    assert int(race.stats.steps) == int(cold.stats.steps[0])


def test_a_perfect_guess_at_an_active_constraint_wins(cold):
    """Multipliers that an interior point makes up at its start do not speak against it."""
    assert float(jnp.min(cold.duals.ineq)) > 0.01
    near = cold.value + 0.2
    alone = run(InteriorPoint(), z0s=near)
    race = run(Race(InteriorPoint()), z0s=near, warm=Guess(cold.value))
    assert bool(jnp.all(race.stats.steps <= alone.stats.steps))
    assert int(race.stats.steps.sum()) < int(alone.stats.steps.sum())


def test_messages():
    with pytest.raises(
        ValueError, match=r"`warm`: got PyTreeDef.*\[\(3,\)\]; expected .*\[\(2,\)\].*every leaf of `z0`"
    ):
        solve(PROGRAM, Race(InteriorPoint()), Z0S[0], PS[0], warm=Guess(jnp.zeros(3)))
    quadratic = QuadraticProgram(np.eye(2), np.ones(2), lower=0.0)
    with pytest.raises(ValueError, match=r"`warm`: got a `Guess` for InteriorPointQP"):
        solve(quadratic, Race(InteriorPointQP()), jnp.zeros(2), warm=Guess(jnp.zeros(2)))
    with pytest.raises(ValueError, match=r"`warm`: got a `Guess` for"):
        solve(quadratic, Race(Race(InteriorPointQP())), jnp.zeros(2), warm=Guess(jnp.zeros(2)))
    with pytest.raises(TypeError, match=r"`warm`: got a `Guess` for InteriorPoint;.*Race\(InteriorPoint"):
        solve(PROGRAM, InteriorPoint(), Z0S[0], PS[0], warm=Guess(Z0S[0]))
    with pytest.raises(TypeError, match=r"`warm`: got a `Guess` for InteriorPoint"):
        run(InteriorPoint(), warm=Guess(Z0S))


def test_a_state_belongs_to_its_solver_and_program(cold):
    quadratic = QuadraticProgram(np.eye(2), np.ones(2), lower=0.0)
    own = solve(quadratic, InteriorPointQP(), jnp.zeros(2)).state
    with pytest.raises(TypeError, match=r"`warm`: got QPState; expected the `state` of a solution by InteriorPoint"):
        solve(PROGRAM, InteriorPoint(), Z0S[0], PS[0], warm=own)
    with pytest.raises(TypeError, match=r"`warm`: got a state with an entry of float64\[2\]; expected float64\[3\]"):
        solve(QuadraticProgram(np.eye(3), np.ones(3), lower=0.0), InteriorPointQP(), jnp.zeros(3), warm=own)
    with pytest.raises(TypeError, match=r"`warm`: got .*expected the `state`.*Guess\(value\)` with `Race`"):
        solve(quadratic, InteriorPointQP(), jnp.zeros(2), warm=jnp.zeros(2))
    single = jax.tree.map(lambda v: v.astype(jnp.float32) if v.dtype == jnp.float64 else v, own)
    with pytest.raises(TypeError, match=r"`warm`: got a state with an entry of float32\[2\]; expected float64\[2\]"):
        solve(quadratic, InteriorPointQP(), jnp.zeros(2), warm=single)
    with pytest.raises(TypeError, match=r"got a `Guess` for InteriorPointQP.*starts from a point of its own"):
        solve(quadratic, InteriorPointQP(), jnp.zeros(2), warm=Guess(jnp.zeros(2)))
