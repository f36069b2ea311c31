"""This library: the problem as an `OptimalControl`, written for one instance, planned for under `vmap`."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import problem
from harness.timing import compile_ahead

from sciml.core import is_successful
from sciml.policies import plan
from sciml.programs import OptimalControl

# Components by `split`, whose derivatives are one concatenation.
PARTS = lambda x: [part.reshape(()) for part in jnp.split(x, x.size)]
JAX = SimpleNamespace(sin=jnp.sin, cos=jnp.cos, stack=jnp.stack, parts=PARTS)


def control(case):
    """The optimal-control problem; its instance is the initial state."""
    goal, rest = jnp.asarray(case.GOAL), jnp.asarray(case.REST)
    return OptimalControl(
        dynamics=lambda x, u, w, p: case.step(x, u, JAX),
        stage=lambda x, u, w, p: (
            0.5 * case.DT * (jnp.sum(case.Q * (x - goal) ** 2) + jnp.sum(case.R * (u - rest) ** 2))
        ),
        initial=lambda p: p,
        horizon=case.N,
        terminal=lambda x, p: 0.5 * jnp.sum(case.P * (x - goal) ** 2),
        u_lower=None if case.LOWER is None else jnp.asarray(case.LOWER),
        u_upper=None if case.UPPER is None else jnp.asarray(case.UPPER),
        dt=case.DT,
    )


def actions(case, data, planner):
    """One instance, and all of them at once."""
    ours, u0, x0 = control(case), jnp.asarray(problem.start(case)), jnp.asarray(data["x0"])

    def one(p):
        found = plan(ours, planner, u0, p, throw=False)
        solved = is_successful(found.result)
        return {"u": found.value.u, "steps": found.stats.steps, "solved": solved, "residual": found.stats.residual}

    single, single_s = compile_ahead(one, x0[0])
    batch, batch_s = compile_ahead(jax.vmap(one), x0)
    return {"single": single, "batch": batch}, {"single": single_s, "batch": batch_s}
