"""The lean methods: their order, their agreement with Diffrax's tableaux, and their life inside `diffeqsolve`."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.systems import Heun, Midpoint, RK4

CASES = [(RK4(), 4), (Midpoint(), 2), (Heun(), 2)]
# dx1 = -x1 + sin t has a closed form; the second equation makes it nonlinear: dx2 = -x2**2, x2 = 1 / (1 + t).
TERM = diffrax.ODETerm(lambda t, x, args: jnp.stack([-x[0] + jnp.sin(t), -(x[1] ** 2)]))


def truth(t):
    return np.stack([1.5 * np.exp(-t) + 0.5 * (np.sin(t) - np.cos(t)), 1 / (1 + t)], axis=-1)


def solve(method, steps, saveat):
    x0, dt = jnp.array([1.0, 1.0]), jnp.asarray(2.0 / steps)
    return diffrax.diffeqsolve(TERM, method, 0.0, 2.0, dt, x0, saveat=saveat, max_steps=256)


@pytest.mark.parametrize("method, order", CASES)
def test_order_of_convergence_at_the_end_and_between_steps(method, order):
    assert method.order(TERM) == order
    ts = jnp.linspace(0.0, 2.0, 38)  # off the steps: the dense output is interpolated
    solved = jax.jit(lambda dt: diffrax.diffeqsolve(TERM, method, 0.0, 2.0, dt, jnp.ones(2), saveat=save).ys)
    save = diffrax.SaveAt(subs=[diffrax.SubSaveAt(t1=True), diffrax.SubSaveAt(ts=ts)])
    errors = []
    for steps in (16, 32):
        end, between = solved(jnp.asarray(2.0 / steps))
        errors.append((np.max(np.abs(end[-1] - truth(2.0))), np.max(np.abs(between - truth(np.asarray(ts))))))
    # halving the step divides the error by 2**order; the dense output has order 4
    rates = np.log2(np.array(errors[0]) / np.array(errors[1]))
    assert np.all(rates > order - 0.35), rates


def test_dense_solution_is_evaluated_anywhere():
    solution = solve(RK4(), 64, diffrax.SaveAt(dense=True))
    np.testing.assert_allclose(solution.evaluate(0.777), truth(0.777), atol=1e-7)


@pytest.mark.parametrize("ours, theirs", [(Midpoint(), diffrax.Midpoint()), (Heun(), diffrax.Heun())])
def test_same_step_as_diffrax(ours, theirs):
    x, t0, t1 = jnp.array([0.3, 0.8]), jnp.asarray(0.1), jnp.asarray(0.4)
    stepped = [m.step(TERM, t0, t1, x, None, m.init(TERM, t0, t1, x, None), False)[0] for m in (ours, theirs)]
    np.testing.assert_allclose(*stepped, rtol=1e-14)


def test_states_may_be_records():
    term = diffrax.ODETerm(lambda t, x, args: {"a": x["b"], "b": -x["a"]})
    x, *_ = RK4().step(term, jnp.asarray(0.0), jnp.asarray(0.1), {"a": 1.0, "b": 0.0}, None, None, False)
    np.testing.assert_allclose([x["a"], x["b"]], [np.cos(0.1), -np.sin(0.1)], atol=1e-7)


def test_func_is_the_vector_field():
    for method, _ in CASES:
        np.testing.assert_allclose(method.func(TERM, jnp.asarray(0.0), jnp.ones(2), None), [-1.0, -1.0])
