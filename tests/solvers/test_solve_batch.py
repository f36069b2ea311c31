"""`solve_batch`: the answers of `vmap`, in chunks, with shared leaves and second attempts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from sciml.core import is_successful
from sciml.programs import Program
from sciml.solvers import InteriorPoint, Retry, solve, solve_batch


class P(NamedTuple):
    radius: Array
    weights: Array


TRACES = 0


def cost(z, p):
    global TRACES
    TRACES += 1
    return jnp.sum(p.weights * (z - 2.0) ** 2) + 1e-3 * jnp.sum(1.0 / z)


# 1/z: starts with a zero entry are outside the domain.
PROGRAM = Program(cost, ineq=lambda z, p: jnp.sum(z**2) - p.radius**2)
PS = P(jnp.linspace(0.5, 4.0, 7), jnp.array([1.0, 3.0]))
AXES = P(0, None)
Z0S = jnp.full((7, 2), 0.3)


@pytest.fixture(scope="module")
def whole():
    one = lambda z0, r: solve(PROGRAM, InteriorPoint(), z0, P(r, PS.weights), throw=False)
    return jax.jit(jax.vmap(one))(Z0S, PS.radius)


@pytest.fixture(scope="module")
def chunked():
    return solve_batch(PROGRAM, InteriorPoint(), Z0S, PS, in_axes=AXES, chunk=3, progress=False)


def test_chunks_with_a_padded_tail_equal_vmap(whole, chunked):
    assert bool(jnp.all(is_successful(chunked.result)))
    np.testing.assert_allclose(chunked.value, whole.value, atol=1e-10)
    np.testing.assert_allclose(chunked.duals.ineq, whole.duals.ineq, atol=1e-8)
    np.testing.assert_array_equal(chunked.stats.steps, whole.stats.steps)


def test_other_data_do_not_recompile(chunked):
    before = TRACES
    other = P(PS.radius + 0.1, PS.weights * 1.5)
    solve_batch(PROGRAM, InteriorPoint(), Z0S + 0.1, other, in_axes=AXES, chunk=3, progress=False)
    assert TRACES == before


def test_retry_rescues_a_bad_start(chunked):
    bad = Z0S.at[4].set(0.0).at[6].set(0.0)
    options = {"in_axes": AXES, "chunk": 3, "progress": False}
    alone = solve_batch(PROGRAM, InteriorPoint(), bad, PS, **options)
    assert list(np.flatnonzero(~is_successful(alone.result))) == [4, 6]
    retry = Retry(lambda z0, p, key: jr.uniform(key, z0.shape, minval=0.1, maxval=1.0), key=jr.key(0))
    rescued = solve_batch(PROGRAM, InteriorPoint(), bad, PS, retry=retry, **options)
    assert bool(jnp.all(is_successful(rescued.result)))
    np.testing.assert_allclose(rescued.value, chunked.value, atol=1e-6)


def test_another_number_of_failures_does_not_recompile(caplog):
    retry = Retry(lambda z0, p, key: jr.uniform(key, z0.shape, minval=0.1, maxval=1.0), key=jr.key(0))
    options = {"in_axes": AXES, "chunk": 3, "progress": False, "retry": retry}
    solve_batch(PROGRAM, InteriorPoint(), Z0S.at[4].set(0.0), PS, **options)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        solve_batch(PROGRAM, InteriorPoint(), Z0S.at[4].set(0.0).at[6].set(0.0), PS, **options)
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]


def test_gradient_from_the_host(whole):
    def total(radius):
        ps = P(radius, PS.weights)
        return jnp.sum(solve_batch(PROGRAM, InteriorPoint(), Z0S, ps, in_axes=AXES, chunk=3, progress=False).value)

    gradient = jax.grad(total)(PS.radius)
    # The first discs bind: growing the radius moves the solution outwards; the last hold the optimum inside.
    assert bool(jnp.all(gradient[:4] > 0.1))
    np.testing.assert_allclose(gradient[-1], 0.0, atol=1e-4)


def test_messages():
    with pytest.raises(ValueError, match=r"`ps.radius`: got shape \(3,\); expected a leading axis of 7 instances"):
        solve_batch(PROGRAM, InteriorPoint(), Z0S, P(jnp.ones(3), PS.weights), in_axes=AXES)
    with pytest.raises(ValueError, match=r"`chunk`: got 0; expected a positive number"):
        solve_batch(PROGRAM, InteriorPoint(), Z0S, PS, in_axes=AXES, chunk=0)
    with pytest.raises(ValueError, match=r"`in_axes`: got 1.*move the batch axis"):
        solve_batch(PROGRAM, InteriorPoint(), Z0S, PS, in_axes=1)
    with pytest.raises(ValueError, match=r"`in_axes`: got the structure .*a prefix"):
        solve_batch(PROGRAM, InteriorPoint(), Z0S, PS, in_axes={"radius": 0})
    with pytest.raises(ValueError, match=r"`z0s`: got leaves of shapes .*one common leading axis"):
        solve_batch(PROGRAM, InteriorPoint(), jnp.zeros(()), PS, in_axes=AXES)
