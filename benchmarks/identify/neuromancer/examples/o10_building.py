"""A building of which only the air temperature is measured: four states, recorded weather, 2000 samples, then 1000 new
steps.

O10 has the radiator's heat as its input, B5 and B6 the flow and the temperature difference of the water, whose
product is the heat. The examples fail at what is not measured: B6 and O10 have no memory, and B5 guesses four states
from one sample. *heat* is `training.subspace` of order four; *flow and difference* starts there and bends the inputs
by a network (a Hammerstein model), which has to find the product.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from common import Finding, judge, levenberg, size_of
from harness import environment

import sciml
from sciml.losses import FreeRun
from sciml.sources import cut, scale_records, signals
from sciml.systems import zoo
from sciml.systems.models import HammersteinWiener, Residual, Started
from sciml.training import subspace

TITLE = "building with partial observation"
PARTS = ("heat", "flow and difference")
DT, SAMPLES, STEPS, LAG = 300.0, 2000, 1000, 20
RIVAL = {"heat": 0.100, "flow and difference": None}
WEATHER = ("building_single_zone", "SimpleSingleZone.mat")


def record(part: str, seed: int, start: int, samples: int) -> sciml.sources.Record:
    """The air temperature under recorded weather from a row on, and random inputs that are held for an hour."""
    disturbances = zoo.single_zone_record(environment.data_folder().joinpath(*WEATHER))[start : start + samples]
    if part == "heat":
        controls = heat = signals.steps(jr.key(seed), samples, 0.0, 5000.0, every=12)
    else:
        controls = signals.steps(jr.key(seed), samples, jnp.zeros(2), jnp.array([500.0, 40.0]), every=12)
        heat = 0.997 * 4185.5 / 3600 * controls[:, :1] * controls[:, 1:]  # W from l/h and K
    x0 = jnp.full(4, 20.0)
    run = sciml.rollout(zoo.single_zone(), lambda x, w: w, x0, jnp.hstack([heat, disturbances]))
    return sciml.sources.record(y=run.y[:-1], u=np.hstack([controls, disturbances]), dt=DT)


def run(seed: int, part: str) -> list[Finding]:
    """Fit on the first week, judge on 1000 steps of other weeks under new inputs; the seed draws inputs and weights."""
    data = record(part, seed, 0, SAMPLES)
    tests = [record(part, 100 + 10 * seed + k, 3000 + 1200 * k, 1000 + STEPS) for k in range(3)]
    # A run starts in the middle, far from the uniform temperatures at its beginning.
    test = sciml.sources.stack([cut(one, length=STEPS + LAG, stride=STEPS + LAG) for one in tests])
    scaling = scale_records(data)
    inside = scaling.apply(data)
    model, _ = subspace(inside, 4, lag=LAG)
    if part != "heat":
        bent = HammersteinWiener(model.system, before=Residual(data.u.shape[1], width=12, key=jr.key(seed)))
        pieces = cut(inside, length=LAG + 60, stride=40)
        model = levenberg(Started(bent, model.start), FreeRun(), pieces, steps=60)
    errors = judge(model, scaling.apply(test))
    kelvin = float(errors.rmse[0] * scaling.y.scale[0])
    return [
        Finding("R² of free runs, new inputs", 1 - errors.nmse, 0.95, better="higher", rival=RIVAL[part]),
        Finding("RMSE of free runs, new inputs", kelvin, unit="K", rival=None if part == "heat" else 1.16),
        Finding("number of parameters", size_of(model), rival=8641.0 if part == "heat" else None),
    ]
