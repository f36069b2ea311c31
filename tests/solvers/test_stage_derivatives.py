"""Derivatives stage by stage against those of the same program without its structure."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.programs import elastic, FlatProgram, flatten, OptimalControl, Program, Shooting, transcribe
from sciml.solvers._derivatives import derivatives, largest_by_rows
from sciml.solvers._stage_model import StageModel

N = 5


class State(NamedTuple):
    place: Array  # (2,)
    heat: Array  # ()


class Input(NamedTuple):
    force: Array  # (2, 1)
    valve: Array  # ()


def dynamics(x, u, w, p):
    place = x.place + 0.1 * jnp.sin(u.force[:, 0]) * x.heat + p["drift"] * w["wind"]
    return State(place, x.heat * jnp.exp(-0.1 * x.place[0]) + u.valve**2 * w["price"])


def limits(x, u, w, p):
    return {"round": jnp.stack([x.place @ x.place * u.valve - 1.0, x.heat - w["price"]]), "a": u.force[0] * x.heat}


CONTROL = OptimalControl(
    dynamics,
    stage=lambda x, u, w, p: w["price"] * u.valve**2 * x.heat + jnp.sum(u.force**4) + jnp.cos(x.place[0]),
    initial=lambda p: State(p["x0"][:2], p["x0"][2]),
    horizon=N,
    exogenous=lambda p: {"price": p["price"], "wind": jnp.outer(p["price"], jnp.array([1.0, -1.0]))},
    terminal=lambda x, p: jnp.exp(x.place[0]) * x.heat,
    path=limits,
    terminal_ineq=lambda x, p: (x.heat**2 - 1.0, x.place - 2.0),
    terminal_eq=lambda x, p: x.place[0] * x.heat - p["x0"][0],
    u_upper=2.0,
)
START = Shooting(State(jnp.zeros((N, 2)), jnp.zeros(N)), Input(jnp.zeros((N, 2, 1)), jnp.zeros(N)))
PS = {
    "x0": jnp.array([[0.3, -0.2, 1.1], [0.1, 0.5, 0.7]]),
    "price": 1.0 + 0.1 * jnp.arange(2.0 * N).reshape(2, N),
    "drift": jnp.array([0.2, 0.4]),
}
STAGED = transcribe(CONTROL)
DENSE = Program(STAGED.objective, STAGED.ineq, STAGED.eq, STAGED.lower, STAGED.upper)


def matrices(flat: FlatProgram, x, p, weight):
    """Values, slopes and matrices, and the largest entry of every row, with multipliers that depend on the values."""
    at = derivatives(flat, x, p, lambda g, h: (jnp.cos(g) + 1.0, jnp.sin(h) - 0.3), weight, True)
    times = lambda operator, n: jax.vmap(operator, out_axes=1)(jnp.eye(n))
    model = at.model
    by_columns = [times(operator, flat.size) for operator in (model.curvature, model.rows, model.equalities)]
    rows = flat.n_ineq + 2 * flat.size
    by_rows = [times(model.rows_transposed, rows), times(model.equalities_transposed, flat.n_eq)]
    return (at.f, at.g, at.h, at.gradient, at.slope, *by_columns, *by_rows, largest_by_rows(flat, x, p))


@pytest.mark.parametrize("soft", [False, True])
def test_stages_agree_with_a_dense_program(soft):
    """Several leaves, signals, path limits, terminal rows and elastic path limits, for a batch; to rounding."""

    def both(p, weight, key):
        z0, programs = START, (STAGED, DENSE)
        if soft:
            prices = lambda p: {"a": p["drift"], "round": None}
            softened = [elastic(program, ineq=lambda p: (prices(p), None), curvature=0.7) for program in programs]
            z0, programs = softened[0].start(START, p), tuple(softened)
        flats = [flatten(program, z0, p)[0] for program in programs]
        assert flats[0].structure is not None and flats[1].structure is None
        x = 0.5 * jax.random.normal(key, (flats[0].size,))
        return [matrices(flat, x, p, weight) for flat in flats]

    keys = jax.random.split(jax.random.key(0), 2)
    found, truth = jax.jit(jax.vmap(both))(PS, jnp.array([1.0, 0.3]), keys)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_batch_shares_linear_dynamics():
    """Their matrices do not depend on the instance, so that `vmap` leaves them without a batch axis."""
    A = jnp.array([[1.0, 0.1], [0.0, 1.0]])
    control = OptimalControl(
        lambda x, u, w, p: A @ x + jnp.stack([jnp.zeros(()), u]) + w,
        stage=lambda x, u, w, p: x @ x + u**2,
        initial=lambda p: p[:2],
        horizon=N,
        exogenous=lambda p: jnp.broadcast_to(p[:2], (N, 2)),
        path=lambda x, u, w, p: x[0] + u - p[0],
        terminal_eq=lambda x, p: x - p[:2],
    )

    def one(p):
        flat, _, x = flatten(transcribe(control), Shooting(jnp.zeros((N, 2)), jnp.zeros(N)), p)
        at = derivatives(flat, x + p[0], p, lambda g, h: (g + p[0], h + p[1]), p[2], True)
        assert isinstance(at.model, StageModel)
        return at.model.lq.A, at.model.lq.B, at.model.Gx, at.model.Gu, at.model.last_h

    shared = jax.vmap(one, out_axes=None)(jnp.arange(6.0).reshape(2, 3))  # raises if one of them has a batch axis
    np.testing.assert_array_equal(shared[0][1:], jnp.broadcast_to(A, (N - 1, 2, 2)))


def test_the_model_has_a_derivative_with_respect_to_multipliers():
    """Second derivatives of solutions need it: the Hessian of `z² + λ z³` at 2 is `2 + 12 λ`."""
    program = Program(lambda z, p: z**2, ineq=lambda z, p: z**3)
    flat, _, x = flatten(program, jnp.asarray(2.0), None)
    one = jnp.ones(1)
    hessian = lambda lam: derivatives(flat, x, None, lambda g, h: (lam * one, h), one[0], True).model.curvature(one)[0]
    assert jax.value_and_grad(hessian)(jnp.asarray(0.5)) == (pytest.approx(8.0), pytest.approx(12.0))
