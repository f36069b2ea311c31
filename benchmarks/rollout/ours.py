"""The same step with this library, written for one lane and batched by `vmap`, as its documentation shows."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import problem
from compiled import compile_step

from sciml.nn import BoundedMLP
from sciml.simulation import rollout
from sciml.systems import discretise, RK4
from sciml.systems.zoo import VanDerPol


def _policy(instance):
    gelu = functools.partial(jax.nn.gelu, approximate=False)  # the rivals' GELU; JAX's own default is its tanh form
    bounds = {"lower": problem.LOWER, "upper": problem.UPPER}
    policy = BoundedMLP(
        problem.STATES, problem.INPUTS, **bounds, width=problem.WIDTH, depth=2, activation=gelu, key=jr.key(0)
    )
    arrays = [jnp.asarray(instance[f"{kind}{layer}"]) for layer in range(3) for kind in "Wb"]
    return eqx.tree_at(lambda p: [a for layer in p.mlp.layers for a in (layer.weight, layer.bias)], policy, arrays)


def prepare(instance, horizon):
    """One gradient step as a function, and the seconds that its compilation took."""
    plant = discretise(VanDerPol(mu=problem.MU), RK4(), dt=problem.DT)
    weights, structure = eqx.partition(_policy(instance), eqx.is_inexact_array)

    def cost(weights, x0):
        policy = eqx.combine(weights, structure)
        run = jax.vmap(lambda start: rollout(plant, policy, start, None, steps=horizon))(x0)
        return jnp.mean(run.x**2) + problem.INPUT_WEIGHT * jnp.mean(run.u**2)

    return compile_step(cost, weights, jnp.asarray(instance["x0"]))
