"""This library, on the inputs alone: a dense quadratic program whose matrices all instances share."""

import condensed
import jax.numpy as jnp
import problem

from sciml.programs import QuadraticProgram
from sciml.solvers import InteriorPointQP, solve


def prepare(data):
    """Forward, and forward with derivatives."""
    theta, x0 = {name: jnp.asarray(data[name]) for name in condensed.SHARED}, jnp.asarray(data["x0"])
    bound, start = float(data["u_max"]), jnp.zeros(problem.STEPS * problem.NU)
    # Entries of up to 6e10 round to residuals of 4e-5, which no tolerance that is asked can be below.
    rounding = 10 * jnp.finfo(jnp.float64).eps * jnp.max(jnp.abs(condensed.matrices(theta)[0]))
    solver = InteriorPointQP(tol=problem.ASKED, stall_tol=max(10 * problem.ASKED, float(rounding)))

    def inputs(theta, x0):
        P, linear, constant = condensed.matrices(theta)
        program = QuadraticProgram(Q=P, q=lambda x0: linear @ x0 + constant, lower=-bound, upper=bound)
        found = solve(program, solver, start, x0, throw=False)
        return found.value.reshape(problem.STEPS, problem.NU)

    return condensed.differentiated(inputs, theta, x0)
