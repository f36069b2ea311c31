"""Operator splitting: against the interior-point method and a NumPy referee, what it shares, and how it fails."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import Program, QuadraticProgram
from sciml.solvers import ADMM, InteriorPointQP, solve
from tests.solvers.test_interior_point_qp import CASES, ENTRIES, FAILURES, padded, random_program, referee

N, LANES = 8, 6
NAMES = {int(getattr(RESULTS, name)._value): name for name in RESULTS._name_to_item}


def names(solution) -> list[str]:
    return [NAMES[int(value)] for value in np.atleast_1d(solution.result._value)]


@cache
def shared(solver, dtype=jnp.float64):
    """Matrices as arrays, `q`, `b`, `h` from the instance; a batch."""
    Q, _, A, _, G, _, lower, upper = (jnp.asarray(block, dtype) for block in random_program(1))
    program = QuadraticProgram(Q, lambda p: p[0], A, lambda p: p[1], G, lambda p: p[2], lower, upper)
    return jax.vmap(lambda p: solve(program, solver, jnp.zeros(N, dtype), p, throw=False))


def vectors(dtype=jnp.float64):
    rng = np.random.default_rng(0)
    _, q, _, b, _, h, *_ = random_program(1)
    q, b = q * rng.uniform(0.5, 1.5, (LANES, N)), b + rng.uniform(-0.05, 0.05, (LANES, 3))
    return tuple(jnp.asarray(v, dtype) for v in (q, b, h + rng.uniform(0, 0.1, (LANES, 6))))


@cache
def ours(dtype=jnp.float64):
    return jax.jit(shared(ADMM(), dtype))


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-8), (jnp.float32, 1e-4)])
def test_referee_agrees(dtype, tol: float):
    solution, (qs, bs, hs) = ours(dtype)(vectors(dtype)), vectors()
    assert solution.value.dtype == dtype and names(solution) == ["successful"] * LANES
    Q, _, A, _, G, _, lower, upper = random_program(1)
    for i in range(LANES):
        data = (Q, np.asarray(qs[i]), A, np.asarray(bs[i]), G, np.asarray(hs[i]), lower, upper)
        duals = jax.tree.map(lambda v, i=i: v[i], solution.duals)
        assert referee(data, np.asarray(solution.value[i], float), duals) <= tol


def test_agrees_with_the_interior_point_method():
    quick, other = ours()(vectors()), jax.jit(shared(InteriorPointQP()))(vectors())
    for a, b in zip(
        jax.tree.leaves((quick.value, quick.duals)), jax.tree.leaves((other.value, other.duals)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-7)


def primitives(jaxpr):
    """The names of all operations of a program with the shapes of their results."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, equation.outvars[0].aval.shape
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


def test_decompositions_are_those_of_one_instance():
    """Of a batch that shares matrices, nothing but the polish, where it is needed, factorises for each instance."""
    found = list(primitives(jax.make_jaxpr(shared(ADMM()))(vectors()).jaxpr))
    heavy = {"eigh", "qr", "geqrf", "svd", "lu"}
    assert {name for name, _ in found} >= {"eigh", "qr"}  # the search sees what there is
    assert all(LANES not in shape for name, shape in found if name in heavy)


def test_rows_differ_in_matrices():
    """A batch in which everything comes from the instance, with equalities of unknown rank."""
    batch = jax.jit(jax.vmap(lambda p: solve(QuadraticProgram(*ENTRIES), ADMM(), jnp.zeros(N), p, throw=False)))
    data = [random_program(seed) for seed in range(LANES)]
    linear = random_program(7)
    data[0] = (0 * linear[0], *linear[1:])  # a vertex: the active set has to be found
    solution = batch(tuple(jnp.asarray(np.stack(block)) for block in zip(*data, strict=True)))
    assert names(solution) == ["successful"] * LANES
    for i, one in enumerate(data):
        duals = jax.tree.map(lambda v, i=i: v[i], solution.duals)
        assert referee(one, np.asarray(solution.value[i]), duals) <= 1e-8


@cache
def lanes():
    """All cases of the interior-point method as one batch."""
    program = QuadraticProgram(*ENTRIES)
    batch = jax.jit(jax.vmap(lambda p: solve(program, ADMM(), jnp.zeros(2), p, throw=False)))
    every = [padded(blocks) for blocks, _ in [*CASES.values(), *FAILURES.values()]]
    return batch(tuple(jnp.asarray(np.stack(block)) for block in zip(*every, strict=True)))


@pytest.mark.parametrize("name", [*CASES, *FAILURES])
def test_degenerate_shapes_and_names_of_failures(name: str):
    i = [*CASES, *FAILURES].index(name)
    wanted = FAILURES[name][1] if name in FAILURES else "successful"
    assert names(lanes())[i] == wanted
    assert np.all(np.isfinite(lanes().value[i]))
    if name in CASES:
        np.testing.assert_allclose(lanes().value[i], CASES[name][1], atol=1e-8)
        assert lanes().stats.residual.largest[i] <= 1e-8


def test_runs_out_of_steps():
    program = QuadraticProgram(*(jnp.asarray(block) for block in random_program(1)))
    solution = solve(program, ADMM(iterations=1), jnp.zeros(N), max_steps=2, throw=False)
    assert names(solution) == ["max_steps_reached"]
    assert not bool(is_successful(solution.result)) and np.all(np.isfinite(solution.value))


def test_warm_start():
    cold = ours()(vectors())
    Q, _, A, _, G, _, lower, upper = (jnp.asarray(block) for block in random_program(1))
    again = QuadraticProgram(Q, lambda p: p[0], A, lambda p: p[1], G, lambda p: p[2], lower, upper)
    run = jax.jit(jax.vmap(lambda p, state: solve(again, ADMM(), jnp.zeros(N), p, warm=state, throw=False)))
    warm = run(vectors(), cold.state)
    assert names(warm) == ["successful"] * LANES
    assert np.all(warm.stats.steps == 1) and np.mean(cold.stats.steps) > 1
    np.testing.assert_allclose(warm.value, cold.value, atol=1e-8)


def test_needs_matrices():
    with pytest.raises(ValueError, match="`program`: got a program of functions; expected a `QuadraticProgram`"):
        solve(Program(lambda z, p: jnp.sum(z**2)), ADMM(), jnp.zeros(2))
