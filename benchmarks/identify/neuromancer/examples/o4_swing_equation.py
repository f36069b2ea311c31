"""A neural ODE of the swing equation with mechanical power as its input: 2000 samples, judged by 2000 steps under new
inputs.

The samples are twenty records of 100, since an experiment of one record hardly leaves the steady oscillation. Two
hidden layers of 20 in place of the example's three of 80. (Ten records of 200 cover too little: 0.019 on seed 0, and
0.0039 with one layer, windows of 10 samples and half as many steps, which had 2.7e-6 on seed 1.)
"""

import forced
import jax.random as jr
from common import Finding, judge, size_of

from sciml.systems import zoo

TITLE = "neural ODE, swing equation"


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws everything."""
    plant = {one.name: one for one in zoo.plants()}["swing_equation"]
    train, held_out = jr.split(jr.key(seed))
    model = forced.fit(forced.runs(plant, train, 20, 100), forced.Recipe(), seed=seed)
    errors = judge(model, forced.runs(plant, held_out, 10, 2001))
    return [
        Finding("NMSE of free runs, new inputs", errors.nmse, 3e-4),
        Finding("number of parameters", size_of(model), rival=13442.0),
    ]
