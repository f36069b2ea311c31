"""A neural state-space model of the stirred-tank reactor: 2000 samples, judged by 1000 steps under new inputs.

`x⁺ = x + A x + B u + f(x, u)` in scaled units, where the example has `x⁺ = f(x) + g(u)`, which no input that acts on
a nonlinear plant obeys. One hidden layer of 20 in place of two networks of two layers of 40.
"""

import forced
import jax.numpy as jnp
import jax.random as jr
from common import Finding, judge, size_of, windows

import sciml
from sciml.losses import FreeRun, OneStep
from sciml.sources import scale_records
from sciml.systems import LinearDiscrete, zoo
from sciml.systems.models import scaled, StateSpace
from sciml.training import LevenbergMarquardt

TITLE = "neural state space, stirred tank"


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws everything."""
    plant = {one.name: one for one in zoo.plants()}["cstr"]
    train, held_out = jr.split(jr.key(seed))
    data = forced.runs(plant, train, 10, 200)
    scaling = scale_records(data)
    inside = scaling.apply(data)
    start = LinearDiscrete(jnp.eye(2), jnp.zeros((2, 1)), jnp.eye(2), dt=plant.dt)
    model = StateSpace(2, 1, 2, dt=plant.dt, linear=start, width=20, key=jr.key(seed))
    dynamics = lambda model: (model.A, model.B, model.f)  # the outputs stay the states
    for loss, part_, steps in ((OneStep(), inside, 100), (FreeRun(), windows(inside, 10), 40)):
        method, key = LevenbergMarquardt(), jr.key(seed)
        model = sciml.fit(model, loss, part_, method, steps=steps, key=key, trainable=dynamics, progress=False).value
    errors = judge(scaled(model, scaling, measures_state=True), forced.runs(plant, held_out, 10, 1001))
    return [
        Finding("NMSE of free runs, new inputs", errors.nmse, 1.2e-4, rival=0.00119),
        Finding("number of parameters", size_of(dynamics(model)), rival=3684.0),
    ]
