"""Records as one chain of samples, so that ragged records are fitted without a loop over them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sciml.core import invalid
from sciml.sources import Record


class Chain(eqx.Module):
    """Samples of all records one after the other; `is_linked` tells where the next sample belongs to the same record.

    Padding stays in the chain, unmeasured and unlinked, so that shapes do not depend on the lengths.
    """

    t: Float[Array, " time"]
    u: Float[Array, "time u"] | None
    y: Float[Array, "time x"]
    is_measured: Bool[Array, "time x"]
    dt: Float[Array, " link"]
    """From each sample to the next; 1 where they are not linked."""
    is_linked: Bool[Array, " link"]


def chain_of(data: Record) -> Chain:
    """The chain of one record or of stacked ones.

    Raises:
        ValueError: fewer than eight linked samples, or an output that never changes or has too few samples.
    """
    flat = lambda leaf: leaf.reshape(-1, *leaf.shape[data.t.ndim :])
    t, is_sample = data.t.reshape(-1), data.is_sample.reshape(-1)
    number = jnp.arange(t.size) // data.t.shape[-1]  # of the record
    is_linked = is_sample[1:] & is_sample[:-1] & (number[1:] == number[:-1])
    dt = jnp.where(is_linked, jnp.diff(t), 1)
    chain = Chain(t, None if data.u is None else flat(data.u), flat(data.y), flat(data.is_measured), dt, is_linked)
    counts = np.sum(np.asarray(chain.is_measured), axis=0)
    if counts.min() < 8:
        got = f"{counts.min()} measured samples of output {int(counts.argmin())}"
        raise invalid("data", got, "at least 8", "record for longer, or leave the output out")
    for i, (y, measured) in enumerate(zip(np.asarray(chain.y).T, np.asarray(chain.is_measured).T, strict=True)):
        if np.ptp(y[measured]) == 0:
            fix = "leave it out, or give it as an input"
            raise invalid("data", f"output {i}, which is constant", "outputs that change", fix)
    return chain
