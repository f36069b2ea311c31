"""A universal differential equation of Lotka-Volterra: four rates are unknown, and a network stands for the encounters.

    dx1 = a x1 - b N(x)        dx2 = c N(x) - d x2        N = x1 x2 in truth

The example's data are NaN: its generator has `c**x1 x2`. Here the equations are right, from the initial state (5,
2), 2000 samples of which 600 are used. The unit of `N` is arbitrary; the regulariser of `mass_action.py` fixes it at
the mean of the data, and asks for order one in both species.
"""

import jax.numpy as jnp
import mass_action
from common import blank, Finding, in_box, judge, measured, relative_error, several, size_of

from sciml.systems import zoo

TITLE = "Lotka-Volterra with a network for the encounters"
TRUE = {"a": 1.1, "b": 0.4, "c": 0.1, "d": 0.4}


def rates(p, network, t, x, u):
    """What is known, and the network."""
    met = network(x)
    return jnp.stack([p["a"] * x[0] - p["b"] * met, p["c"] * met - p["d"] * x[1]])


def run(seed: int, part: str) -> list[Finding]:
    """Fit on one trajectory, judge from 100 other initial states; the seed draws weights and these."""
    plant = zoo.LotkaVolterra()
    data = measured(plant, jnp.array([5.0, 2.0]), blank(600, 0.1), substeps=4)
    low, high = data.y.min(axis=0), data.y.max(axis=0)
    test = several(plant, in_box(low, high, 100, 10 + seed), blank(201, 0.1), substeps=4)
    prior = mass_action.FirstOrder(mass_action.grid(data), (0, 1), data.y.mean(axis=0))
    scale = float(jnp.prod(data.y.mean(axis=0)))
    model = mass_action.fit(rates, dict.fromkeys(TRUE, 0.1), data, prior, scale=scale, seed=seed)
    return [
        Finding("NMSE of free runs, held out", judge(model, test, substeps=2).nmse, 1e-3),
        Finding("relative error of the parameters", relative_error(model.parameters, TRUE), 0.02),
        Finding("number of parameters", size_of(model), rival=1345.0),
    ]
