"""This library: the transcribed problem, written for one instance, solved under `vmap`."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import problem
from harness.timing import compile_ahead

from sciml.programs import guess, OptimalControl, transcribe
from sciml.solvers import solve


def components(x):
    """The entries of a vector. Derivatives of `split` are one concatenation, those of indexing a padded vector each."""
    return [part.reshape(()) for part in jnp.split(x, x.size)]


JAX = SimpleNamespace(sin=jnp.sin, cos=jnp.cos, stack=jnp.stack, parts=components)


def dynamics(x, u, w, p, xp=JAX):
    """`problem.step`, with the four evaluations of its slope in a loop: a quarter of the code to compile."""
    offsets, weights = jnp.asarray([0.0, 0.5, 0.5, 1.0]), jnp.asarray([1.0, 2.0, 2.0, 1.0]) / 6

    def evaluate(carry, at):
        slope, total = carry
        slope = problem.rates(x + problem.DT * at[0] * slope, u, xp)
        return (slope, total + problem.DT * at[1] * slope), None

    return jax.lax.scan(evaluate, (jnp.zeros_like(x), x), (offsets, weights))[0][1]


def stage(x, u, w, p):
    """The running cost."""
    return 0.5 * problem.DT * (jnp.sum(problem.Q * (x - w) ** 2) + jnp.sum(problem.R * (u - problem.HOVER) ** 2))


def control(reference):
    """The optimal-control problem; its instance is the initial state."""
    return OptimalControl(
        dynamics,
        stage,
        initial=lambda p: p,
        horizon=len(reference) - 1,
        exogenous=lambda p: reference[:-1],
        terminal=lambda x, p: 0.5 * jnp.sum(problem.P * (x - reference[-1]) ** 2),
        x_lower=jnp.asarray(problem.X_LOWER),
        x_upper=jnp.asarray(problem.X_UPPER),
        u_lower=0.0,
        u_upper=problem.MOST_THRUST,
        dt=problem.DT,
    )


def actions(data, solver):
    """Forward, all instances at once."""
    x, u = (jnp.asarray(v) for v in problem.start(data))

    def one(reference, p):
        ours = control(reference)
        like = jax.eval_shape(lambda: guess(ours, u, p))
        z0 = eqx.tree_at(lambda z: (z.x, z.u), like, (x, u))
        found = solve(transcribe(ours), solver, z0, p, throw=False)
        defects, _ = found.duals.eq
        return {"x": found.value.x, "u": found.value.u, "nu": defects, "steps": found.stats.steps}

    batched = jax.vmap(one, in_axes=(None, 0))
    run, seconds = compile_ahead(batched, jnp.asarray(data["reference"]), jnp.asarray(data["x0"]))
    return {"forward": run}, {"forward": seconds}
