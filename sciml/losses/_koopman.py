"""Errors of Koopman models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..core import invalid
from ..sources import Record
from ..systems.models import Lifted, Started


class KoopmanErrors(eqx.Module):
    """The residuals of one window of a record: prediction, linearity of the lifting, and reconstruction.

    With `z[0] = ψ(y[0])` and `z[k+1] = step(z[k], u[k])`:

        y[k] - output(z[k]),   latent (ψ(y[k]) - z[k]),   reconstruction (y[k] - output(ψ(y[k])))

    The latent target is the lifting of the measured output alone and `z[k]` holds the inputs up to `u[k-1]`, so that
    both are the same thing where the model is right, with inputs too.

    Samples that were not measured do not count: one that lacks a channel is not lifted, and a window without a whole
    first sample has no prediction.

    Use it as `losses.MeanSquares(losses.KoopmanErrors())` over stacked windows (`sources.cut`).

    Args:
        latent, reconstruction: weights, >= 0.

    Source: Lusch, Kutz and Brunton (2018), Nat. Commun. 9, 4950, doi:10.1038/s41467-018-07210-0;
    without their term of the largest error.
    """

    latent: Scalar = eqx.field(converter=jnp.asarray, default=0.3)
    reconstruction: Scalar = eqx.field(converter=jnp.asarray, default=1.0)

    def __call__(self, model: Started, window: Record) -> Float[Array, " part"]:
        """All residuals of one window, in units of a mean over its samples; the latent count as much as the outputs.

        Raises:
            ValueError: a model that does not begin with `systems.models.Lifted`.
        """
        start = model.start
        if not isinstance(start, Lifted):
            fix = "build the model by `systems.models.koopman` or `training.edmd`"
            raise invalid("model", type(start).__name__, "a start of type `Lifted`", fix)
        system = model.system
        count = window.is_measured.astype(window.y.dtype)
        lifted = jax.vmap(lambda y: start.library(y, None))(window.y)
        us = None if window.u is None else window.u

        def step(z: Array, inputs: Any) -> tuple[Array, Array]:
            t, u = inputs
            return system.step(t, z, u), z

        _, z = jax.lax.scan(step, lifted[0], (window.t, us))
        read = jax.vmap(system.output, in_axes=(0, 0, None if us is None else 0))
        whole = jnp.all(window.is_measured, axis=1).astype(z.dtype)[:, None]
        # Without a whole first sample there is no start, and nothing to predict.
        predicted = whole[0] * count * (window.y - read(window.t, z, us))
        curved = self.latent.astype(z.dtype) * whole[0] * whole * (lifted - z) / (z.shape[1] / window.y.shape[1]) ** 0.5
        rebuilt = self.reconstruction.astype(z.dtype) * whole * count * (window.y - read(window.t, lifted, us))
        parts = jnp.concatenate([predicted.ravel(), curved.ravel(), rebuilt.ravel()])
        return parts / window.t.size**0.5
