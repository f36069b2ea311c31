"""A universal differential equation of the Brusselator: two rates are unknown, and a network stands for the reaction.

    dx1 = a + N(x) - b x1 - x1        dx2 = b x1 - N(x)        N = x1² x2 in truth

`N` can absorb `(b - 3) x1`: as the example poses it, `b` cannot be found, which `metrics.identifiability` must
report. *plain* is that fit; *first order* adds the regulariser of `mass_action.py`, that the reaction is of order
one in `x2`. Both use 600 of the example's 2000 samples (the rest repeats the limit cycle) and one hidden layer of 16
where the example has four of 20.
"""

import jax.numpy as jnp
import mass_action
from common import blank, Finding, in_box, judge, measured, relative_error, several, size_of, windows

from sciml.losses import FreeRun
from sciml.metrics import identifiability, sensitivities
from sciml.systems import zoo

TITLE = "Brusselator with a network for the reaction"
PARTS = ("first order", "plain")


def rates(p, network, t, x, u):
    """What is known, and the network."""
    reaction = network(x)
    return jnp.stack([p["a"] + reaction - p["b"] * x[0] - x[0], p["b"] * x[0] - reaction])


def run(seed: int, part: str) -> list[Finding]:
    """Fit on one trajectory, judge from 100 other initial states; the seed draws weights and these."""
    plant = zoo.Brusselator()
    data = measured(plant, jnp.ones(2), blank(600, 0.1), substeps=4)
    low, high = data.y.min(axis=0), data.y.max(axis=0)
    test = several(plant, in_box(low, high, 100, 10 + seed), blank(201, 0.1), substeps=4)
    prior = mass_action.FirstOrder(mass_action.grid(data), (1,)) if part == "first order" else None
    model = mass_action.fit(rates, {"a": 5.0, "b": 5.0}, data, prior, scale=10.0, seed=seed)
    errors = judge(model, test, substeps=2)
    error = {name: relative_error(model.parameters, {name: true}) for name, true in (("a", 1.0), ("b", 3.0))}
    found = [
        Finding("relative error of b", error["b"], None if prior is None else 0.01, rival=0.6),
        Finding("relative error of a", error["a"]),
        Finding("number of parameters", size_of(model), rival=1343.0),
    ]
    nmse = "NMSE of free runs, held out"
    if prior is not None:
        return [Finding(nmse, errors.nmse, 0.0067, rival=0.0673), *found]
    loss, pieces = FreeRun(substeps=2), windows(data, 10)
    report = identifiability(model, jacobian=sensitivities(loss.residuals, model, pieces))
    is_named = any("b" in name.rpartition(".")[2] for direction in report.directions for name in direction.names)
    words = "reports that b cannot be identified"
    return [Finding(nmse, errors.nmse, rival=0.0673), Finding(words, float(is_named), 1.0, better="higher"), *found]
