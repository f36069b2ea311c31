"""This library, on states and inputs: the transcribed problem, whose linear algebra is a Riccati recursion."""

import condensed
import equinox as eqx
import jax
import jax.numpy as jnp
import problem

from sciml.programs import guess, OptimalControl, transcribe
from sciml.solvers import solve


def dynamics(x, u, w, p):
    """The next state."""
    theta, _ = p
    return theta["A"] @ x + theta["B"] @ u + theta["b"]


def stage(x, u, w, p):
    """The running cost."""
    z = jnp.concatenate([x, u])
    return 0.5 * z @ p[0]["H"] @ z


def terminal(x, p):
    """The cost of the last state."""
    return 0.5 * x @ p[0]["H"][: problem.NX, : problem.NX] @ x


def actions(data, solver):
    """Forward, and forward with derivatives."""
    theta, x0 = {name: jnp.asarray(data[name]) for name in condensed.SHARED}, jnp.asarray(data["x0"])
    control = OptimalControl(
        dynamics,
        stage,
        initial=lambda p: p[1],
        horizon=problem.STEPS,
        terminal=terminal,
        u_lower=-float(data["u_max"]),
        u_upper=float(data["u_max"]),
    )
    program, zero = transcribe(control), jnp.zeros((problem.STEPS, problem.NU))
    like = jax.eval_shape(lambda: guess(control, zero, (theta, x0[0])))
    z0 = eqx.tree_at(lambda z: (z.x, z.u), like, (jnp.zeros((problem.STEPS, problem.NX)), zero))
    inputs = lambda theta, x0: solve(program, solver, z0, (theta, x0), throw=False).value.u
    return condensed.differentiated(inputs, theta, x0)
