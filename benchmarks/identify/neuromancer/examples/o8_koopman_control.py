"""A deep Koopman model of the stirred-tank reactor: 2000 samples, judged by 1000 steps under new inputs.

`z⁺ = K z + B u` from the lifted measurement, where the example lifts to 50 latent states and lets its latent target
contain the next input, which its prediction does not. The example states the last value of its loss on its one
record, 7.5e-3, which counts ten times the squared error of standardised outputs over 20 steps: at most 7.5e-4 of that.
"""

import forced
import jax.numpy as jnp
import jax.random as jr
import koopman_runs
from common import Finding, judge, size_of, windows

from sciml.sources import scale_records
from sciml.systems import zoo
from sciml.systems.models import koopman, scaled

TITLE = "deep Koopman, stirred tank"


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws everything."""
    plant = {one.name: one for one in zoo.plants()}["cstr"]
    train, held_out, far = jr.split(jr.key(seed), 3)
    data = forced.runs(plant, train, 10, 200)
    scaling = scale_records(data)
    model = koopman(2, 8, 1, dt=plant.dt, width=16, depth=1, key=jr.key(seed))
    model = koopman_runs.fit(model, windows(scaling.apply(data), 20), 40)
    test = forced.runs(plant, held_out, 10, 1001)
    whole = scaled(model, scaling)
    starts = scaling.apply(test).y[:, 0]
    us = [plant.inputs(key, koopman_runs.LONG) for key in jr.split(far, starts.shape[0])]
    return [
        Finding("NMSE of free runs of 20 steps, new inputs", judge(whole, windows(test, 20)).nmse, 7.5e-4),
        Finding("NMSE of free runs, new inputs", judge(whole, test).nmse),
        *koopman_runs.stability(model, starts, scaling.u.apply(jnp.stack(us))),
        Finding("number of parameters", size_of(model)),
    ]
