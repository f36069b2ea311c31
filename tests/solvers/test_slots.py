"""Slots: the answers of `vmap` whatever the width, the order and the neighbours, compiled once, differentiable."""

import os
import subprocess
import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from sciml.core import is_successful, RESULTS
from sciml.programs import FlatProgram, Program
from sciml.solvers import AbstractSolver, InteriorPoint, Point, Retry, solve, solve_batch
from sciml.solvers._slots import _common_constants, Job
from sciml.solvers._solve_batch import _default_slots

N = 40
FAR = 1e100  # no start for `Descent`
TRACES = 0


class P(NamedTuple):
    pull: Array
    centre: Array


class State(eqx.Module):
    x: Array
    stopped: Array
    result: RESULTS


class Descent(AbstractSolver):
    """Steepest descent in the shared metric `1 / scale`: cheap to compile, its steps grow as `pull` shrinks."""

    tol: float = 1e-9

    def prepare(self, program: FlatProgram, p: Any) -> Any:
        return {"metric": 1.0 / (1.0 + p.centre**2), "pull": 1.0 * p.pull}

    def init(self, program: FlatProgram, constants: Any, x0: Array, p: Any, warm: Any) -> State:
        finite = jnp.all(jnp.abs(x0) < FAR)
        result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_start)
        return State(x0 if warm is None else warm.x, ~finite, result)

    def step(self, program: FlatProgram, constants: Any, state: State, p: Any) -> State:
        slope = jax.grad(lambda x: program.functions(x, p)[0])(state.x)
        x = state.x - constants["metric"] * slope
        return State(x, jnp.max(jnp.abs(slope)) <= self.tol, state.result)

    def done(self, state: State) -> Array:
        return state.stopped

    def finish(self, program: FlatProgram, constants: Any, state: State, p: Any) -> tuple[Point, RESULTS, Any]:
        zero = jnp.zeros((0,), state.x.dtype)
        return Point(state.x, zero, zero), state.result, (constants["pull"], jnp.asarray(0))


def cost(z, p):
    global TRACES
    TRACES += 1
    return 0.5 * jnp.sum((1.0 + p.centre**2) * p.pull * (z - p.centre) ** 2) + jnp.sum(jnp.log1p(p.pull) * z)


PROGRAM = Program(cost)
# A few instances take twenty times the steps of the others; one starts nowhere, and one does not arrive.
PULL = jnp.full((N,), 0.8).at[jnp.array([3, 17, 18])].set(0.1).at[30].set(1e-4)
PS = P(PULL + jnp.linspace(0.0, 0.01, N) * PULL, jnp.array([1.0, -2.0]))
TRUTH = PS.centre - jnp.log1p(PS.pull[:, None]) / (PS.pull[:, None] * (1 + PS.centre**2))
AXES = P(0, None)
Z0S = jnp.zeros((N, 2)).at[5, 0].set(FAR)
MAX_STEPS = 400


def batch(z0s=Z0S, ps=PS, solver: AbstractSolver = Descent(), **options):
    return solve_batch(PROGRAM, solver, z0s, ps, in_axes=AXES, max_steps=MAX_STEPS, progress=False, **options)


def same(a, b, rtol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.fixture(scope="module")
def whole():
    one = lambda z0, pull: solve(PROGRAM, Descent(), z0, P(pull, PS.centre), max_steps=MAX_STEPS, throw=False)
    return jax.jit(jax.vmap(one))(Z0S, PS.pull)


# One at a time, with a narrower tail, everything at once, and chunks whose last one is padded.
@pytest.mark.parametrize("options", [{"slots": 1}, {"slots": 16}, {"slots": 99}, {"slots": 4, "chunk": 9}])
def test_equals_vmap(whole, options, monkeypatch):
    monkeypatch.setattr("sciml.solvers._solve_batch._WIDE", 16)
    answer = batch(**options)
    np.testing.assert_array_equal(answer.stats.steps, whole.stats.steps)
    np.testing.assert_array_equal(answer.stats.has_derivative, whole.stats.has_derivative)
    same(answer.value, whole.value)
    same((answer.stats.residual, answer.stats.barrier), (whole.stats.residual, whole.stats.barrier))
    same(answer.state.x, whole.state.x)


def test_failures_beside_successes(whole):
    answer = batch(slots=7)
    expected = jnp.asarray(is_successful(whole.result))
    assert list(np.flatnonzero(~expected)) == [5, 30]
    assert list(np.flatnonzero(answer.result == RESULTS.nonfinite_start)) == [5]
    assert list(np.flatnonzero(answer.result == RESULTS.max_steps_reached)) == [30]
    assert int(answer.stats.steps[5]) == 0
    assert int(answer.stats.steps[30]) == MAX_STEPS
    assert bool(jnp.all(is_successful(answer.result) == expected))
    # The slope is at most 1e-9 one step before the end, and the smallest curvature 0.1.
    np.testing.assert_allclose(answer.value[expected], TRUTH[expected], atol=1e-8)


def test_retry_goes_through_the_same_slots():
    batch(slots=7)
    before = TRACES
    answer = batch(slots=7, retry=Retry(lambda z0, p, key: jr.normal(key, z0.shape), key=jr.key(1), attempts=1))
    assert before == TRACES
    assert list(np.flatnonzero(~is_successful(answer.result))) == [30]
    np.testing.assert_allclose(answer.value[5], TRUTH[5], atol=1e-8)


def test_slots_by_default_for_large_batches_only():
    assert _default_slots(1023, False) is None
    assert _default_slots(1023, True) == 1023
    # On an accelerator a pass costs the same for one slot as for thousands.
    assert _default_slots(1024, False) == (128 if jax.default_backend() == "cpu" else None)


def test_order_does_not_matter():
    order = jnp.asarray(np.random.default_rng(0).permutation(N))
    straight, mixed = batch(slots=7), batch(Z0S[order], P(PS.pull[order], PS.centre), slots=7)
    np.testing.assert_array_equal(mixed.stats.steps, straight.stats.steps[order])
    same(mixed.value, straight.value[order], rtol=1e-13)


def test_other_data_do_not_recompile():
    batch(slots=7)
    before = TRACES
    batch(Z0S + 0.1, P(PS.pull * 0.9, PS.centre * 1.1), slots=7)
    assert before == TRACES


def test_no_steps_at_all():
    answer = solve_batch(PROGRAM, Descent(), Z0S[:4], P(PS.pull[:4], PS.centre), in_axes=AXES, max_steps=0, slots=2)
    assert bool(jnp.all(answer.result == RESULTS.max_steps_reached))
    np.testing.assert_array_equal(answer.stats.steps, 0)


def test_warm_starts_where_it_ended(whole):
    good = jnp.array([0, 1, 3, 17])
    ps, state = P(PS.pull[good], PS.centre), jax.tree.map(lambda x: x[good], whole.state)
    answer = solve_batch(PROGRAM, Descent(), Z0S[good], ps, in_axes=AXES, warm=state, slots=2)
    np.testing.assert_array_equal(answer.stats.steps, 1)


def test_what_instances_share_is_prepared_once():
    job = Job(PROGRAM, Descent(), P(None, PS.centre), Z0S, P(PS.pull, None), None, MAX_STEPS)
    common, is_own = jax.eval_shape(lambda: _common_constants(job)[0]), _common_constants(job)[1]
    assert is_own == {"metric": False, "pull": True}
    assert common["metric"].shape == (2,)
    assert common["pull"] is None


def test_gradient_is_that_of_vmap():
    def total(centre, solve_all):
        return jnp.sum(jnp.sin(solve_all(P(PS.pull, centre)).value))

    rows = lambda ps: jax.vmap(
        lambda z0, pull: solve(PROGRAM, Descent(), z0, P(pull, ps.centre), max_steps=MAX_STEPS, throw=False)
    )(Z0S, ps.pull)
    through = jax.grad(lambda c: total(c, lambda ps: batch(ps=ps, slots=7)))(PS.centre)
    plain = jax.grad(lambda c: total(c, rows))(PS.centre)
    np.testing.assert_allclose(through, plain, rtol=1e-10)
    # A second path: the closed form, without the instances that failed.
    solved = jnp.ones((N, 1)).at[jnp.array([5, 30])].set(0.0)

    def closed(centre):
        z = centre - jnp.log1p(PS.pull[:, None]) / (PS.pull[:, None] * (1 + centre**2))
        return jnp.sum(solved * jnp.sin(z))

    np.testing.assert_allclose(through, jax.grad(closed)(PS.centre), rtol=1e-6)


def rosenbrock(z, p):
    return (1 - z[0]) ** 2 + p * (z[1] - z[0] ** 2) ** 2


def test_interior_point_through_slots():
    program = Program(rosenbrock, ineq=lambda z, p: z[0] + z[1] - 1.8, lower=-2.0)
    ps, z0s = jnp.geomspace(1.0, 300.0, 12)[::-1], jnp.tile(jnp.array([-1.2, 1.0]), (12, 1))
    answer = solve_batch(program, InteriorPoint(), z0s, ps, slots=4)
    plain = solve_batch(program, InteriorPoint(), z0s, ps)
    assert bool(jnp.all(is_successful(answer.result)))
    np.testing.assert_array_equal(answer.stats.steps, plain.stats.steps)
    same((answer.value, answer.duals), (plain.value, plain.duals))


DIVIDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import test_slots as t
assert jax.device_count() == 2
mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
odd = (t.Z0S[:39], t.P(t.PS.pull[:39], t.PS.centre))
one, two = t.batch(*odd, slots=4), t.batch(*odd, slots=4, mesh=mesh)
np.testing.assert_array_equal(two.stats.steps, one.stats.steps)
t.same(two.value, one.value)
few = t.batch(t.Z0S[:1], t.P(t.PS.pull[:1], t.PS.centre), mesh=mesh)
t.same(few.value, one.value[:1])
grads = [jax.grad(lambda c: jnp.sum(t.batch(odd[0], t.P(odd[1].pull, c), slots=4, mesh=m).value))(t.PS.centre)
         for m in (None, mesh)]
t.same(*grads)
print("equal")
"""


def test_two_devices_equal_one():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    env = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", DIVIDED], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "equal", done.stderr


def test_messages():
    with pytest.raises(ValueError, match=r"`slots`: got 0; expected a positive number"):
        batch(slots=0)
    with pytest.raises(ValueError, match=r"`warm.x`: got shape \(3, 2\); expected a leading axis of 40 instances"):
        batch(warm=State(jnp.zeros((3, 2)), jnp.zeros((40,), bool), jnp.zeros((40,))))
    mesh = jax.make_mesh((1, 1), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with pytest.raises(ValueError, match=r"`mesh`: got axes \('a', 'b'\); expected a mesh with one axis"):
        batch(mesh=mesh)
