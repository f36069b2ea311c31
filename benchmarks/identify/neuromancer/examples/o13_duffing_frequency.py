"""The frequency of the force on a Duffing oscillator from one trajectory of 1000 samples, the rest known.

The example starts its fit at the true frequency. Here sixteen starts between 0.1 and 2 are fitted at once: the error
of the fit has a local minimum for every cycle that the force gains or loses over the record.
"""

import jax
import jax.numpy as jnp
from common import blank, Clock, Finding, in_box, measured, relative_error

from sciml.losses import OneStep
from sciml.systems import zoo
from sciml.systems.models import GreyBox
from sciml.training import ensemble, LevenbergMarquardt

TITLE = "Duffing, frequency of the force"
TRUE = {"omega": 0.5}
DT, SAMPLES = 0.01, 1000


def rates(p, network, t, x, u):
    """The known equations; the time is known too."""
    return zoo.Duffing(omega=p["omega"]).vector_field(t, x, u)


def run(seed: int, part: str) -> list[Finding]:
    """One-step fits of all starts in one compiled program; seed 0 is the example's initial state."""
    x0 = jnp.array([1.0, 0.0]) if seed == 0 else in_box([-1.0, -1.0], [1.0, 1.0], 1, seed)[0]
    data = measured(zoo.Duffing(), x0, blank(SAMPLES, DT), substeps=2)
    starts = GreyBox(rates, {"omega": jnp.linspace(0.1, 2.0, 16)})
    loss = OneStep(substeps=4)
    fit = lambda: jax.block_until_ready(ensemble(starts, loss, data, LevenbergMarquardt(), steps=30))
    clock = Clock()
    fitted = fit()
    first = clock()
    fitted = fit()
    again = clock() - first
    found = jnp.abs(fitted.state.parameters["omega"])  # the force is even in the frequency
    at_true = float(jnp.sum(jnp.abs(found - 0.5) < 1e-6))
    return [
        Finding("relative error of the parameters", relative_error(fitted.value.parameters, TRUE), 1e-8),
        Finding("CPU time of the fit after compilation", again, 3.0, unit="s"),
        Finding("CPU time of the fit, compilation included", first, unit="s"),
        Finding("starts of 16 that end at the true frequency", at_true, better="higher"),
    ]
