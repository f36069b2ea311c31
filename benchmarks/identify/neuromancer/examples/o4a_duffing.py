"""A neural ODE of the Duffing oscillator, the phase of its force as the input: 1000 samples, 1000 steps, new inputs.

Under these inputs the oscillator is chaotic: small errors grow 2000-fold over the 1000 steps (100 units of time). The
rival's run of 1000 steps starts where its training began.
"""

import forced
import jax.random as jr
from common import Finding, judge, size_of, windows

from sciml.systems import zoo

TITLE = "neural ODE, Duffing with an input"


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws everything."""
    plant = {one.name: one for one in zoo.plants()}["duffing_control"]
    train, held_out = jr.split(jr.key(seed))
    recipe = forced.Recipe(24, 1, steps=(200, 20), substeps=4)
    model = forced.fit(forced.runs(plant, train, 5, 200), recipe, seed=seed)
    test = forced.runs(plant, held_out, 10, 1001)
    errors, short = judge(model, test, substeps=4), judge(model, windows(test, 50), substeps=4)
    return [
        Finding("NMSE of free runs, new inputs", errors.nmse, 3e-4, rival=0.0031),
        Finding("NMSE of windows of 50 steps, new inputs", short.nmse, rival=0.00369),
        Finding("number of parameters", size_of(model), rival=13442.0),
    ]
