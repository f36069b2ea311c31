"""A deep Koopman model of the van der Pol oscillator: free runs of 200 steps from 100 other initial states.

*one trajectory* has the example's orbit, of which 600 samples in place of 2000 say all that there is to say: it hugs
the limit cycle. As there, the lifting has to be guessed inside of it. A neural ODE of 42 parameters, the best of
sixteen by training error, guesses well (O1); a Koopman model is fitted to what that predicts from starts in the box
around the orbit. *spread* has 2000 samples from that box, in 40 records.

The eigenvalues begin at rotations of 0, 0.1 and 0.2 rad per sample; that of the limit cycle, 0.094, is plain in the
data.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import koopman_runs
from common import blank, Finding, in_box, judge, measured, several, size_of, windows

from sciml.losses import FreeRun
from sciml.sources import Record
from sciml.systems import zoo
from sciml.systems.models import koopman, NeuralODE
from sciml.training import ensemble, LevenbergMarquardt

TITLE = "deep Koopman, van der Pol"
PARTS = ("one trajectory", "spread")
DT, SAMPLES = 0.1, 600
RECORDS, LENGTH = 40, 50


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge; the seed draws initial weights and all initial states but that of the one trajectory."""
    plant = zoo.VanDerPolLienard()
    orbit = measured(plant, jnp.array([1.0, 2.0]), blank(SAMPLES, DT), substeps=2)
    low, high = orbit.y.min(axis=0), orbit.y.max(axis=0)
    test = several(plant, in_box(low, high, 100, 10 + seed), blank(201, DT), substeps=2)
    starts = in_box(low, high, RECORDS, 20 + seed)
    source = plant if part == "spread" else teacher(orbit, seed)
    data = several(source, starts, blank(LENGTH, DT), substeps=2)
    model = koopman(2, 6, dt=DT, width=12, fastest=0.2, key=jr.key(seed))
    model = koopman_runs.fit(model, data, 24)
    errors, rival = judge(model, test), None if part == "spread" else 0.128
    far = several(plant, test.y[:10, 0], blank(koopman_runs.LONG + 1, DT), substeps=2)
    return [
        Finding("NMSE of free runs, held out", errors.nmse, 0.0128, rival=rival),
        Finding("NMSE of free runs of 10,000 steps", judge(model, far).nmse),
        *koopman_runs.stability(model, test.y[:, 0], rival=1.091),
        Finding("number of parameters", size_of(model), rival=18833.0),
    ]


def teacher(orbit: Record, seed: int) -> Any:
    """The smallest field that explains the orbit."""
    make = eqx.filter_vmap(lambda key: NeuralODE(2, width=8, depth=1, key=key))
    starts = make(jr.split(jr.key(seed), 16))
    return ensemble(starts, FreeRun(), windows(orbit, 6), LevenbergMarquardt(), steps=1000).value
