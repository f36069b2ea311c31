"""qpax on the inputs alone, as it documents its batches: `jit(vmap(...))`; bounds are inequalities."""

import condensed
import jax.numpy as jnp
import problem
import qpax


def prepare(data):
    """Forward, and forward with derivatives, which it smooths on purpose."""
    theta, x0 = {name: jnp.asarray(data[name]) for name in condensed.SHARED}, jnp.asarray(data["x0"])
    n = problem.STEPS * problem.NU
    rows = jnp.concatenate([jnp.eye(n), -jnp.eye(n)])
    limits, none = jnp.full(2 * n, float(data["u_max"])), (jnp.zeros((0, n)), jnp.zeros(0))

    def inputs(theta, x0):
        P, linear, constant = condensed.matrices(theta)
        u = qpax.solve_qp_primal(P, linear @ x0 + constant, *none, rows, limits, solver_tol=problem.ASKED)
        return u.reshape(problem.STEPS, problem.NU)

    return condensed.differentiated(inputs, theta, x0)
