"""Slopes of measured states, for fits without simulation."""

import jax.numpy as jnp

from ...losses import Slopes
from ...sources import Record
from ._chain import chain_of
from ._smooth import smooth


def slopes(data: Record) -> Slopes:
    """States and their derivatives at every sample, from a smoother that needs no tuning.

    Each output is taken as a twice integrated Wiener process in white noise, whose ratio of variances maximises the
    likelihood; times may be uneven and samples missing. Not for use inside `jit`.

    Args:
        data: one record, or several, whose outputs are all of the states.

    Returns:
        One row for each sample of each record; padding has weight zero.

    Raises:
        ValueError: too few samples, or an output that never changes.

    Source: see `training.sparse.Derivatives`.
    """
    chain = chain_of(data)
    smoothed = smooth(chain)
    weight = data.is_sample.reshape(-1).astype(smoothed.x.dtype)
    keep = lambda rows: jnp.where(weight[:, None] > 0, rows, 0)
    return Slopes(chain.t, chain.u, keep(smoothed.x), keep(smoothed.rate), weight)
