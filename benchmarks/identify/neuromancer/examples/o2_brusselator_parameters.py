"""Two rates of the Brusselator from one trajectory, the equations known: 500 samples, rates that start at 5."""

import jax.numpy as jnp
import jax.random as jr
from common import blank, Clock, Finding, in_box, measured, relative_error

import sciml
from sciml.systems import zoo
from sciml.systems.models import GreyBox
from sciml.training import LevenbergMarquardt

TITLE = "Brusselator, two rates"
TRUE = {"a": 1.0, "b": 3.0}
DT, SAMPLES = 0.05, 500


def rates(p, network, t, x, u):
    """The known equations."""
    return zoo.Brusselator(p["a"], p["b"]).vector_field(t, x, u)


def run(seed: int, part: str) -> list[Finding]:
    """One-step fit, as in the example; seed 0 is its initial state, other seeds draw one."""
    x0 = jnp.ones(2) if seed == 0 else in_box([0.5, 0.5], [2.0, 4.0], 1, seed)[0]
    data = measured(zoo.Brusselator(), x0, blank(SAMPLES, DT), substeps=2)
    model = GreyBox(rates, {name: jnp.asarray(5.0) for name in TRUE})
    # Sixteen steps of RK4 per sample: its error, 1e-12 of the state, would be the error of the rates.
    loss = sciml.losses.OneStep(substeps=16)
    fit = lambda: sciml.fit(model, loss, data, LevenbergMarquardt(), steps=30, key=jr.key(0), progress=False)
    clock = Clock()
    fitted = fit()
    first = clock()
    fitted = fit()
    again = clock() - first
    error = relative_error(fitted.value.parameters, TRUE)
    return [
        Finding("relative error of the parameters", error, 1e-8, rival=5e-5),
        Finding("CPU time of the fit after compilation", again, 3.0, unit="s"),
        Finding("CPU time of the fit, compilation included", first, unit="s"),
        Finding("steps of the fit", float(fitted.stats.steps)),
    ]
