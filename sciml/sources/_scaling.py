"""Scaling of records, so that channels of any unit reach a model as numbers of order one."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._record import Record
from ._standardise import Standardiser


class Scaling(eqx.Module):
    """The affine maps of a record's inputs and outputs to mean zero and deviation one; made by `scale_records`."""

    u: Standardiser | None
    """Of the inputs; None without inputs."""
    y: Standardiser
    """Of the outputs."""

    def apply(self, data: Record) -> Record:
        """The record in scaled units; samples that were not measured stay 0."""
        u = data.u if self.u is None or data.u is None else self.u.apply(data.u)
        y = jnp.where(data.is_measured, self.y.apply(data.y), 0)
        return Record(data.t, u, y, data.is_measured, data.length)

    def invert(self, data: Record) -> Record:
        """The inverse of `apply`."""
        u = data.u if self.u is None or data.u is None else self.u.invert(data.u)
        y = jnp.where(data.is_measured, self.y.invert(data.y), 0)
        return Record(data.t, u, y, data.is_measured, data.length)


def scale_records(data: Record, *, center: bool = True) -> Scaling:
    """The maps that give every channel of `data` mean 0 and standard deviation 1, over all samples of all records.

    `systems.models.scaled` puts them around a model, which is then saved, simulated and controlled in physical units.

    Args:
        data: the training part only, one record or several. Missing samples and padding do not count.
        center: whether to subtract means. Without, channels are divided by their root mean square. A linear system that
            is at rest at zero stays linear only then: the means of a record that is no steady operation (a building
            that warms up, say) are no equilibrium, and subtracting them adds an offset, which takes a state to model.

    Returns:
        The maps; a constant channel is only shifted (scale 1), or without `center` divided by its size.
    """
    standardiser = _standardiser if center else _divider
    live = jnp.broadcast_to(data.is_sample[..., None], data.y.shape[:-1] + (1,))
    u = None
    if data.u is not None:
        u = standardiser(data.u, jnp.broadcast_to(live, data.u.shape))
    return Scaling(u, standardiser(data.y, data.is_measured))


def _standardiser(x: Float[Array, "*record time channel"], counts: Bool[Array, "*record time channel"]) -> Standardiser:
    axes = tuple(range(x.ndim - 1))
    total = jnp.maximum(jnp.sum(counts, axis=axes), 1).astype(x.dtype)
    mean = jnp.sum(jnp.where(counts, x, 0), axis=axes) / total
    spread = jnp.sqrt(jnp.sum(jnp.where(counts, x - mean, 0) ** 2, axis=axes) / total)
    # Rounding gives a constant channel a deviation above zero, so it is recognised by its range.
    low = jnp.min(jnp.where(counts, x, np.inf), axis=axes)
    high = jnp.max(jnp.where(counts, x, -np.inf), axis=axes)
    return Standardiser(mean, jnp.where(high > low, spread, 1))


def _divider(x: Float[Array, "*record time channel"], counts: Bool[Array, "*record time channel"]) -> Standardiser:
    axes = tuple(range(x.ndim - 1))
    total = jnp.maximum(jnp.sum(counts, axis=axes), 1).astype(x.dtype)
    size = jnp.sqrt(jnp.sum(jnp.where(counts, x, 0) ** 2, axis=axes) / total)
    return Standardiser(jnp.zeros_like(size), jnp.where(size > 0, size, 1))
