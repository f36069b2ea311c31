"""Silverbox with its structure known: two states and a polynomial of one signal in their feedback.

`x+ = A x + B u + P (z², z³)`, `y = C x + D u + Q (z², z³)`, `z = c x + d u`, from the linear model of
`training.subspace`; fitted by `training.LevenbergMarquardt` to eight pieces of the training record, whose initial
states are unknowns, too.
"""

import os
from importlib.metadata import version

if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jaxtyping import Array  # noqa: E402

from sciml.losses import LeastSquares  # noqa: E402
from sciml.sources import record  # noqa: E402
from sciml.training import fit, LevenbergMarquardt, subspace  # noqa: E402

PIECES = 8
STEPS = 40


class Feedback(eqx.Module):
    """The model, in scaled units."""

    A: Array
    B: Array
    C: Array
    D: Array
    P: Array
    Q: Array
    c: Array
    d: Array

    def run(self, x0, u):
        """Outputs of a free run."""

        def advance(x, u):
            z = self.c @ x + self.d @ u
            w = jnp.stack([z**2, z**3])
            return self.A @ x + self.B @ u + self.P @ w, self.C @ x + self.D @ u + self.Q @ w

        return jax.lax.scan(advance, x0, u)[1]


def misfit(unknowns, data):
    """Residuals of all pieces, with a mean square of one for a model that says nothing."""
    model, x0 = unknowns
    u, y = data
    return (jax.vmap(model.run)(x0, u) - y).ravel() / y.size**0.5


def start(x0, data):
    """Residuals of the first samples of a record as functions of its initial state."""
    model, u, y = data
    return (model.run(x0, u) - y).ravel() / y.size**0.5


def prepare(data):
    """The fit, and the run on every test."""
    if str(data["name"]) != "Silverbox":
        return None

    def act():
        su, sy = data["u"].std(), data["y"].std()
        mu, my = data["u"].mean(), data["y"].mean()
        scale_u, scale_y = lambda u: jnp.asarray((u - mu) / su), lambda y: jnp.asarray((y - my) / sy)
        u, y = scale_u(data["u"]), scale_y(data["y"])
        line, _ = subspace(record(y[:20_000], u[:20_000], dt=float(data["dt"])), 2, lag=40, has_feedthrough=True)
        s = line.system
        zeros = jnp.zeros((2, 2))
        model = Feedback(s.A, s.B, s.C, s.D, zeros, zeros[:1], s.C[0], s.D[0])
        n = len(y) // PIECES
        pieces = tuple(v[: n * PIECES].reshape(PIECES, n, 1) for v in (u, y))
        lm, key = LevenbergMarquardt(rtol=1e-9), jax.random.key(0)
        options = {"key": key, "progress": False}
        unknowns = fit((model, jnp.zeros((PIECES, 2))), LeastSquares(misfit), pieces, lm, steps=STEPS, **options)
        model = unknowns.value[0]
        outputs, shown = {"model": "cubic feedback", "train": float(unknowns.stats.loss)}, int(data["skip"])
        for index in range(sum(name.startswith("u_") for name in data)):
            first = (model, scale_u(data[f"u_{index}"][:shown]), scale_y(data[f"y_{index}"][:shown]))
            x0 = fit(jnp.zeros(2), LeastSquares(start), first, lm, steps=30, **options).value
            outputs[f"y_{index}"] = my + sy * np.asarray(
                eqx.filter_jit(Feedback.run)(model, x0, scale_u(data[f"u_{index}"]))
            )
        return outputs

    return {"fit": act}, {}
