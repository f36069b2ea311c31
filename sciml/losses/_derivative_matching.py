"""Matching a vector field with slopes that were estimated from the data."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..systems.models import Started
from ._abstract import AbstractLeastSquares
from ._samples import Samples, Term


class Slopes(eqx.Module):
    """States and their derivatives at samples, as `training.sparse.slopes` estimates them; leading axis: the sample."""

    t: Float[Array, " sample"]
    u: Float[Array, "sample input"] | None
    x: Float[Array, "sample state"]
    rate: Float[Array, "sample state"]
    """`dx/dt`, in units of the state and time."""
    weight: Float[Array, " sample"]
    """One for a sample, zero for padding."""


class DerivativeMatching(AbstractLeastSquares):
    """`½ mean ‖scale (f(t, x, u) - dx/dt)‖²` over samples with estimated slopes: a fit without any simulation.

    Choose it to initialise a continuous model whose states are all measured: it is cheap and has no trouble with
    instability. Slopes are biased where data are noisy or sparse, so finish with `FreeRun`.

    Args:
        scale: of each state, such as one over the deviation of its slope; None for one.

    A model is a continuous system, bare or in `Started(system)`; a batch is `Slopes`.

    Source: Varah (1982), A spline least squares method for numerical parameter estimation in differential equations,
    DOI 10.1137/0903003.

    Examples:
        ```python
        from sciml.losses import DerivativeMatching, Slopes

        decay = sciml.systems.LinearContinuous(A=-jnp.eye(1), B=jnp.zeros((1, 1)))
        xs = jnp.array([[1.0], [2.0]])
        data = Slopes(jnp.arange(2.0), None, xs, -xs, jnp.ones(2))
        assert DerivativeMatching()(decay, data) == 0.0
        ```
    """

    scale: Float[Array, " state"] | None = None

    def residuals(self, model: Any, batch: Slopes) -> Float[Array, "sample state"]:
        """The scaled errors of all slopes."""
        (term,) = self.structure(model, batch).terms
        return term.scale * jax.vmap(lambda one: term.function(model, one))(term.data)

    def structure(self, model: Any, batch: Slopes) -> Samples:
        """Every sample has residuals of its own."""
        count = jnp.maximum(jnp.sum(batch.weight), 1) * batch.x.shape[1]
        return Samples((Term(self._error, batch, 1 / jnp.sqrt(count)),))

    def _error(self, model: Any, one: Slopes) -> Float[Array, " state"]:
        system = model.system if isinstance(model, Started) else model
        error = system.vector_field(one.t, one.x, one.u) - one.rate
        return one.weight * (error if self.scale is None else error * self.scale.astype(error.dtype))
