"""One recipe for all forced plants whose states are measured: scale, fit single steps, then free runs over windows."""

from typing import Any, NamedTuple

import jax
import jax.random as jr
from common import blank, levenberg, several, windows

import sciml
from sciml.losses import FreeRun, OneStep
from sciml.sources import Record, scale_records
from sciml.systems.models import NeuralODE, scaled


class Recipe(NamedTuple):
    """What differs from plant to plant."""

    width: int = 20
    depth: int = 2
    window: int = 20
    """Intervals of a window of the free-run stage."""
    steps: tuple[int, int] = (120, 30)
    """Of Levenberg-Marquardt, in either stage."""
    substeps: int = 1
    records: int = 20
    """Among which the 2000 samples are divided: few and long where a plant goes far from where it starts."""


def runs(plant: Any, key: Any, count: int, samples: int, *, x0s: Any = None, dt: float | None = None) -> Record:
    """Records of a plant of the zoo under its default inputs, each from an initial state of its own."""
    starts, inputs = jr.split(key)
    x0s = jax.vmap(plant.start)(jr.split(starts, count)) if x0s is None else x0s
    us = [plant.inputs(k, samples) for k in jr.split(inputs, count)]
    experiments = sciml.sources.stack([blank(samples, float(plant.dt) if dt is None else dt, u) for u in us])
    return several(plant.system, x0s, experiments, substeps=2 * plant.substeps)


def fit(data: Record, recipe: Recipe, *, seed: int) -> Any:
    """A neural ODE in physical units."""
    scaling = scale_records(data)
    inside = scaling.apply(data)
    rate = typical_rate(inside)
    states, inputs = data.y.shape[-1], data.u.shape[-1]
    model = NeuralODE(states, inputs, width=recipe.width, depth=recipe.depth, rate=rate, key=jr.key(seed))
    model = levenberg(model, OneStep(substeps=recipe.substeps), inside, steps=recipe.steps[0])
    if recipe.steps[1]:
        loss = FreeRun(substeps=recipe.substeps)
        model = levenberg(model, loss, windows(inside, recipe.window), steps=recipe.steps[1])
    return scaled(model, scaling, measures_state=True)


def typical_rate(data: Record) -> float:
    """The root mean square of the slopes of scaled records."""
    slopes = (data.y[:, 1:] - data.y[:, :-1]) / (data.t[:, 1:] - data.t[:, :-1])[..., None]
    return float((slopes**2).mean() ** 0.5)
