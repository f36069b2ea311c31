"""Twelve forced plants, one recipe: a neural ODE from 2000 samples, judged by free runs of 1000 steps under new inputs.

The only table of held-out errors in NeuroMANCER's repository: perceptrons of four layers of 128, Euler's method, a
curriculum; neither its data nor its seeds are told. Here 2000 samples for every plant, in twenty records but for the
tank, and at most some 600 parameters. The Duffing oscillator and Lorenz's system are chaotic under their inputs (an
error grows by exp(7.6) and exp(8.8) over the 1000 steps): how long a free run stays counts for them.
"""

from typing import Any

import forced
import jax.random as jr
import numpy as np
from common import Finding, free_runs, judge, size_of

from sciml.sources import Record
from sciml.systems import zoo

TITLE = "forced plants"
PARTS = (
    "duffing_control", "lorenz_control", "underwater_vehicle", "cstr", "two_tank", "inverted_pendulum",
    "swing_equation", "tank", "thomas_control", "seir", "van_der_pol_control", "hindmarsh_rose",
)  # fmt: skip
RIVAL = (0.993, 0.246, 0.920, 0.999, 0.986, 0.816, 0.897, 1.0, 0.998, 0.993, 0.930, 0.614)
# Mean rates at which errors grow under the default inputs, over 1000 steps from five initial states.
EXPONENTS = {"duffing_control": 0.076, "lorenz_control": 0.88}
RECIPES = {
    "duffing_control": forced.Recipe(24, 1, substeps=4),
    "underwater_vehicle": forced.Recipe(24, 1),
    "hindmarsh_rose": forced.Recipe(substeps=4),
    "van_der_pol_control": forced.Recipe(substeps=2),
    "tank": forced.Recipe(records=2),  # fills from empty: records of 100 samples never see it half full
}


def run(seed: int, part: str) -> list[Finding]:
    """Fit and judge one plant; the seed draws everything."""
    plant = {one.name: one for one in zoo.plants()}[part]
    train, held_out = jr.split(jr.key(seed))
    recipe = RECIPES.get(part, forced.Recipe())
    data = forced.runs(plant, train, recipe.records, 2000 // recipe.records)
    model = forced.fit(data, recipe, seed=seed)
    test = forced.runs(plant, held_out, 10, 1001)
    errors = judge(model, test, substeps=recipe.substeps)
    rival = RIVAL[PARTS.index(part)]
    found = [
        Finding("R² of free runs, new inputs", 1 - errors.nmse, 0.99, better="higher", rival=rival),
        Finding("number of parameters", size_of(model)),
    ]
    if part in EXPONENTS:
        times = valid_times(model, test, substeps=recipe.substeps) * EXPONENTS[part]
        found.append(Finding("median valid time, in Lyapunov times", float(np.median(times)), better="higher"))
    return found


def valid_times(model: Any, test: Record, **options: Any) -> np.ndarray:
    """When each free run first deviates by 40 % of the root mean square of the deviations from the mean."""
    y, _ = free_runs(model, test, options)
    truth = np.asarray(test.y)
    size = np.sqrt(np.sum(np.var(truth, axis=(0, 1))))
    off = np.linalg.norm(np.asarray(y) - truth, axis=-1) > 0.4 * size
    first = np.where(off.any(axis=1), off.argmax(axis=1), truth.shape[1] - 1)
    return np.asarray(test.t)[0, first]
