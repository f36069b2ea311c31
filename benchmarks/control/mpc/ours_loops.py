"""This library: the problem as an `OptimalControl`, its controller, and closed loops by `rollout`."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import problem
from harness.timing import compile_ahead

from sciml import rollout
from sciml.policies import MPC
from sciml.programs import OptimalControl
from sciml.systems import AbstractDiscreteSystem

# Components by `split`, whose derivatives are one concatenation.
PARTS = lambda x: [part.reshape(()) for part in jnp.split(x, x.size)]
JAX = SimpleNamespace(sin=jnp.sin, cos=jnp.cos, stack=jnp.stack, parts=PARTS)


class Plant(AbstractDiscreteSystem):
    """The plant of a case."""

    case: object
    dt: float = 0.05

    def step(self, t, x, u):
        """The state after a sampling period."""
        return self.case.step(x, u, JAX)


def control(case):
    """The optimal-control problem; its instance is the present state."""
    goal, rest = jnp.asarray(case.GOAL), jnp.asarray(case.REST)
    bounded = lambda bound: None if np.isinf(bound).all() else bound
    return OptimalControl(
        dynamics=lambda x, u, w, p: case.step(x, u, JAX),
        stage=lambda x, u, w, p: (
            0.5 * case.DT * (jnp.sum(case.Q * (x - goal) ** 2) + jnp.sum(case.R * (u - rest) ** 2))
        ),
        initial=lambda p: p,
        horizon=problem.N,
        terminal=lambda x, p: 0.5 * jnp.sum(case.P * (x - goal) ** 2),
        u_lower=case.LOWER,
        u_upper=case.UPPER,
        x_lower=bounded(case.X_LOWER),
        x_upper=bounded(case.X_UPPER),
        dt=case.DT,
    )


def actions(case, data, **options):
    """One step from a plan, one closed loop, and all of them at once."""
    mpc, plant, x0 = MPC(control(case), jnp.asarray(case.REST), **options), Plant(case), jnp.asarray(data["x0"])

    def loop(x):
        run = rollout(plant, mpc, x, None, steps=problem.STEPS)
        report = run.report
        return {"u": run.u, "steps": report.steps, "failed": report.is_fallback, "residual": report.residual}

    one, one_s = compile_ahead(loop, x0[0])
    batch, batch_s = compile_ahead(jax.vmap(loop), x0)
    return {"loop": one, "batch": batch}, {"loop": one_s, "batch": batch_s}
