"""A neural ODE of the van der Pol oscillator: 600 samples, judged by free runs of 200 steps from 100 other initial
states.

*one trajectory* has the example's data, a single orbit that hugs the limit cycle, so that the field inside has to be
guessed. What guesses well is the smallest network that fits: 42 parameters in place of the example's 7622. The best
of sixteen starts by training error is judged. *spread* has the same number of samples, as 30 records of 20 samples
from the box around that orbit.
"""

import equinox as eqx
import jax
import jax.random as jr
from common import blank, Finding, in_box, judge, levenberg, measured, several, size_of, windows

from sciml.losses import FreeRun
from sciml.systems import zoo
from sciml.systems.models import NeuralODE
from sciml.training import ensemble, LevenbergMarquardt

TITLE = "neural ODE, van der Pol"
PARTS = ("one trajectory", "spread")
DT, SAMPLES = 0.1, 600


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws initial weights and all initial states but that of the one trajectory."""
    plant = zoo.VanDerPolLienard()
    orbit = measured(plant, jax.numpy.array([1.0, 2.0]), blank(SAMPLES, DT), substeps=2)
    low, high = orbit.y.min(axis=0), orbit.y.max(axis=0)
    test = several(plant, in_box(low, high, 100, 10 + seed), blank(201, DT), substeps=2)
    if part == "spread":
        records = several(plant, in_box(low, high, 30, 20 + seed), blank(20, DT), substeps=2)
        model = NeuralODE(2, width=20, depth=2, key=jr.key(seed))
        model = levenberg(model, FreeRun(), records, steps=100)
    else:
        make = eqx.filter_vmap(lambda key: NeuralODE(2, width=8, depth=1, key=key))
        starts, data = make(jr.split(jr.key(seed), 16)), windows(orbit, 6)
        model = ensemble(starts, FreeRun(), data, LevenbergMarquardt(), steps=250).value
    errors = judge(model, test)
    target, rival = (1e-3, None) if part == "spread" else (0.056, 0.564)
    return [
        Finding("NMSE of free runs, held out", errors.nmse, target, rival=rival),
        Finding("number of parameters", size_of(model), rival=7622.0),
    ]
