"""Riccati equations: SciPy over random systems, closed forms, derivatives, batches, float32, failures; 25 CPU-s."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sciml import RESULTS
from sciml.systems import care, dare
from sciml.systems.zoo import double_integrator

SCIPY = {dare: scipy.linalg.solve_discrete_are, care: scipy.linalg.solve_continuous_are}
both = pytest.mark.parametrize("equation", [dare, care], ids=["dare", "care"])


def draw(rng, n, m, radius, equation):
    """A random system whose largest mode has the modulus `radius`, or the real part `radius - 1`; and weights."""
    A, B = rng.normal(size=(n, n)), rng.normal(size=(n, m))
    modes = np.linalg.eigvals(A)
    A = radius / max(abs(modes)) * A if equation is dare else A - (max(modes.real) + 1 - radius) * np.eye(n)
    W = rng.normal(size=(n + m, n + m))
    W = W @ W.T
    return A, B, W[:n, :n], W[n:, n:], W[:n, n:]


A, B = np.array([[1.1, 0.3], [0.2, 0.5]]), np.array([[0.3], [1.0]])
Q, R, S = np.array([[1.0, 0.2], [0.2, 2.0]]), np.array([[0.5]]), 0.1 * B


@both
@pytest.mark.parametrize("n", [1, 4, 8])
def test_it_is_scipys(equation, n):
    rng = np.random.default_rng(n)
    for radius in (0.3, 0.999999, 1.0, 1.3, 2.0):
        for _ in range(3):
            *matrices, cross = draw(rng, n, 2, radius, equation)
            solution = equation(*matrices, cross)
            theirs = SCIPY[equation](*matrices, s=cross)
            # Both are exact to rounding times the condition of the equation, 1e6 in the worst of these.
            np.testing.assert_allclose(solution.value, theirs, rtol=0, atol=1e-9 * np.max(np.abs(theirs)))
            assert solution.stats.residual < 1e-12 and np.array_equal(solution.value, solution.value.T)


def test_closed_forms():
    one = np.ones((1, 1))
    np.testing.assert_allclose(dare(one, one, one, one).value, (1 + 5**0.5) / 2, rtol=1e-15)
    # A scalar plant without a weight on its state: the cheapest way to stabilise it mirrors its mode, P = a² - 1.
    np.testing.assert_allclose(dare(3 * one, one, 0 * one, one).value, 8.0, rtol=1e-14)
    np.testing.assert_allclose(care(3 * one, one, 0 * one, one).value, 6.0, rtol=1e-14)
    mass = double_integrator()
    for q in (1e-4, 1.0, 1e4):  # Q = diag(q², 0), R = 1: P = [[√2 q^1.5, q], [q, √(2 q)]]
        P = care(mass.A, mass.B, np.diag([q**2, 0.0]), one).value
        np.testing.assert_allclose(P, [[2**0.5 * q**1.5, q], [q, (2 * q) ** 0.5]], rtol=1e-10)


@both
def test_hard_systems_are_solved(equation):
    """Unstable modes without a weight, slow modes, a nearly uncontrollable mode, weights of unlike sizes."""
    rotation = np.array([[3.0, 1.0], [0.2, 0.4]])
    cases = [
        (np.diag([2.0, 0.5]), np.ones((2, 1)), np.zeros((2, 2)), np.eye(1)),
        (rotation, np.ones((2, 1)), np.diag([0.0, 1.0]), np.eye(1)),
        (np.diag([1.5, 0.2]), np.array([[1e-3], [1.0]]), np.eye(2), np.eye(1)),
        (rotation, np.ones((2, 1)), 1e6 * np.eye(2), 1e-6 * np.eye(1)),
        (rotation, np.ones((2, 1)), 1e-6 * np.eye(2), 1e6 * np.eye(1)),
    ]
    slow = np.diag([1 - 1e-9, 0.5]) if equation is dare else np.diag([-1e-9, -1.0])
    cases.append((slow, np.array([[1e-6], [1.0]]), np.diag([1e-6, 1.0]), np.eye(1)))
    for case in cases:
        theirs = SCIPY[equation](*case)
        np.testing.assert_allclose(equation(*case).value, theirs, rtol=1e-6, atol=1e-8 * np.max(np.abs(theirs)))


@both
def test_derivatives_against_differences(equation):
    """Along one direction of all five matrices: forward, reverse, and the second derivative."""
    rng = np.random.default_rng(0)
    start = tuple(jnp.asarray(a) for a in (A, B, Q, R, S))
    along = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in start)
    weight = jnp.asarray(rng.normal(size=(2, 2)))

    def value(s):
        moved = jax.tree.map(lambda a, d: a + s * d, start, along)
        return jnp.sum(weight * jnp.sin(equation(*moved, throw=False).value))

    @jax.jit
    def slopes(s):
        return (*jax.jvp(jax.grad(value), (s,), (jnp.ones_like(s),)), jax.jvp(value, (s,), (jnp.ones_like(s),))[1])

    h = 1e-5
    slope, bend, forward = slopes(0.0)
    np.testing.assert_allclose(slope, (value(h) - value(-h)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(forward, slope, rtol=1e-10)
    np.testing.assert_allclose(bend, (slopes(h)[0] - slopes(-h)[0]) / (2 * h), rtol=1e-6)


@pytest.fixture(scope="module")
def batch():
    """Solutions and slopes of a batch of which some instances have no solution."""
    inputs = jnp.stack([B, 0 * B, 2 * B, jnp.array([[0.0], [1.0]]), B])
    weights = jnp.stack([R, R, -R, R, R * jnp.nan])

    def total(equation, b, r):
        solution = equation(2 * A, b, Q, r, throw=False)
        return jnp.sum(solution.value), solution

    every = lambda e: jax.jit(jax.vmap(jax.grad(partial(total, e), argnums=(0, 1), has_aux=True)))(inputs, weights)
    return {equation: (*every(equation), inputs, weights) for equation in (dare, care)}


@both
def test_failures_of_a_batch_are_values_and_leave_the_others_alone(equation, batch):
    slopes, solutions, inputs, weights = batch[equation]
    results = [RESULTS.successful, RESULTS.unstable, RESULTS.unbounded, RESULTS.successful, RESULTS.unbounded]
    for k, expected in enumerate(results):
        one = jax.tree.map(lambda a, k=k: a[k], (solutions, slopes))
        assert one[0].result == expected
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(one))
        if expected != RESULTS.successful:
            assert not np.any(one[0].value) and not np.any(one[1][0]) and not np.any(one[1][1])
            continue
        alone = equation(2 * A, inputs[k], Q, weights[k])
        np.testing.assert_allclose(one[0].value, alone.value, rtol=1e-12)
        assert np.any(one[1][0])


@both
def test_float32(equation):
    rng = np.random.default_rng(0)
    for radius in (0.5, 1.0, 1.5):
        matrices = draw(rng, 2, 1, radius, equation)
        single = equation(*(jnp.asarray(a, jnp.float32) for a in matrices))
        assert single.value.dtype == single.stats.residual.dtype == jnp.float32
        theirs = SCIPY[equation](*matrices[:4], s=matrices[4])
        np.testing.assert_allclose(single.value, theirs, rtol=0, atol=2e-4 * np.max(np.abs(theirs)))


@both
def test_it_lowers_for_other_devices(equation):
    shapes = [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in (A, B, Q, R)]
    solve = jax.jit(jax.vmap(lambda *matrices: equation(*matrices, throw=False).value, (0, None, None, None)))
    batched = jax.ShapeDtypeStruct((3, 2, 2), jnp.float32)
    exported = jax.export.export(solve, platforms=["cuda"])(batched, *shapes[1:])
    assert exported.platforms == ("cuda",)


def test_a_mode_on_the_limit_without_a_weight():
    """There is a solution, but it does not stabilise the mode."""
    for equation, modes in ((dare, [1.0, 0.5]), (care, [0.0, -0.5])):
        matrices = (np.diag(modes), np.ones((2, 1)), np.diag([0.0, 1.0]), np.eye(1))
        solution = equation(*matrices, throw=False)
        assert np.all(np.isfinite(solution.value)) and solution.result == RESULTS.stalled
        with pytest.raises(RuntimeError, match="not accurate to half the digits"):
            equation(*matrices)


@both
def test_bad_input_is_named(equation):
    eye, one = np.eye(2), np.eye(1)
    for matrices, match in [
        ((np.ones((2, 3)), B, Q, R), r"`A`: got shape \(2, 3\)"),
        ((np.ones(2), B, Q, R), r"`A`: got shape \(2,\)"),
        ((A, B[:, 0], Q, R), r"`B`: got shape \(2,\)"),
        ((A, B, one, R), r"`Q`: got shape \(1, 1\); expected \(2, 2\)"),
        ((A, B, Q, eye), r"`R`: got shape \(2, 2\); expected \(1, 1\)"),
        ((A, B, Q, R, B.T), r"`S`: got shape \(1, 2\); expected \(2, 1\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            equation(*matrices)
    for matrices, match in [
        ((A, B, Q, -R), "`R`: got a matrix that is not positive definite"),
        (
            (2 * eye, np.array([[0.0], [1.0]]), Q, R),
            "`B`: got modes of `A` that do not decay and that no input moves: 2",
        ),
        ((A, 0 * B, Q, R), "no input moves: 1.19"),
    ]:
        with pytest.raises(RuntimeError, match=match):
            equation(*matrices)
    with pytest.raises(RuntimeError, match="no stabilising solution"):
        eqx.filter_jit(equation)(2 * eye, jnp.array([[0.0], [1.0]]), Q, R)
