"""Laws of `solve` over solvers and programs: jit = eager, vmap = loop, order does not matter, traced once, float32."""

import jax
import jax.numpy as jnp
import numpy as np

import sciml.solvers
from sciml.core import is_successful
from sciml.solvers import AbstractSolver, InteriorPointQP, Race
from tests.laws.chain import side_by_side
from tests.laws.members import alone, batch_of, compiled, flat, instances, member, pairs, solved, SOLVERS


def answers(solution) -> np.ndarray:
    """Decision and multipliers, a row for each instance."""
    return np.asarray(jax.vmap(flat)((solution.value, solution.duals)))


def test_every_public_solver_is_under_these_laws():
    public = {v for v in vars(sciml.solvers).values() if isinstance(v, type) and issubclass(v, AbstractSolver)}
    # Other packages, where they are installed, have laws in tests/solvers/test_external.py.
    optional = {sciml.solvers.Moreau, sciml.solvers.MPAX}
    tested = {type(solver) for solver in SOLVERS}
    assert public - {AbstractSolver} - optional == tested, "add it to `SOLVERS` of tests/laws/members.py"


@pairs(("InteriorPoint", "mixed"), ("InteriorPointQP", "shared"), ("Race", "free"))
def test_compiled_batch_equals_eager_loop(solver: AbstractSolver, name: str):
    """Single instances go through the door without `jit` around it; 1e-7: multipliers follow the tolerance of 1e-11."""
    together = solved(solver, name)
    assert bool(jnp.all(is_successful(together.result)))
    each = len(batch_of(name)) // len(instances(name))
    for i, p in enumerate(instances(name)):
        single = alone(solver, member(name, jnp.float64), jnp.asarray(p))
        np.testing.assert_allclose(answers(together)[i * each], flat((single.value, single.duals)), atol=1e-7)
        np.testing.assert_array_equal(together.stats.steps[i * each], single.stats.steps)


def in_float32(solver: AbstractSolver) -> AbstractSolver:
    """The solver with its default tolerance, which follows the dtype."""
    if isinstance(solver, Race):
        return Race(in_float32(solver.solver))
    return type(solver)()


@pairs()
def test_order_does_not_matter(solver: AbstractSolver, name: str):
    ps = batch_of(name)
    order = np.random.default_rng(0).permutation(len(ps))
    shuffled = compiled(solver, name, jnp.float64)(ps[order])  # new data: `compiled` raises if it is traced again
    np.testing.assert_allclose(answers(shuffled), answers(solved(solver, name))[order], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(shuffled.stats.steps, solved(solver, name).stats.steps[order])


@pairs()
def test_failed_neighbours_do_no_harm(solver: AbstractSolver, name: str):
    ps = batch_of(name).at[1::3].set(jnp.nan)
    other, good = compiled(solver, name, jnp.float64)(ps), ~jnp.isnan(ps[:, 0])
    np.testing.assert_array_equal(is_successful(other.result), good)
    assert np.all(np.isfinite(answers(other)))
    np.testing.assert_allclose(answers(other)[good], answers(solved(solver, name))[good], rtol=1e-12, atol=1e-12)


@pairs(("InteriorPointQP", "in p"))
def test_float32(solver: AbstractSolver, name: str):
    """A success in float32 has a residual of the solver's own tolerance; the answer is that of float64.

    The answer's error is that tolerance times the condition of the program: 30 bounds it but for optimal control,
    whose limit is so weakly active (a margin of 8e-4) that products of 1e-4 leave the square root of it.
    """
    single, double = solved(in_float32(solver), name, jnp.float32), solved(solver, name)
    assert answers(single).dtype == np.float32
    assert bool(jnp.all(is_successful(single.result)))
    tol = 1e-5 if isinstance(solver, InteriorPointQP) else 1e-4
    assert float(jnp.max(single.stats.residual.largest)) <= tol
    np.testing.assert_allclose(answers(single), answers(double), atol=0.1 if name == "control" else 30 * tol)


@pairs()
def test_factorisations_of_a_batch_are_one_chain(solver: AbstractSolver, name: str):
    """Decision 2: two at once may wait for each other for ever."""
    program = compiled(solver, name, jnp.float64).lower(batch_of(name)).compile()
    assert list(side_by_side(program.as_text())) == []
