"""The verb of sparse identification."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from sciml.core import RESULTS, Solution
from sciml.sources import Record
from sciml.systems.models import AbstractLibrary, SINDy

from ._chain import chain_of
from ._stlsq import AbstractSparse


def sindy(
    library: AbstractLibrary,
    data: Record,
    method: AbstractSparse,
    *,
    names: Sequence[str] | None = None,
    key: PRNGKeyArray | None = None,
) -> Solution:
    """The sparse equations `dx/dt = Ξᵀ θ(x, u)` that explain records of all states.

    Choose it where the equations are wanted, not only predictions, and few terms are likely. Inputs are held over each
    sampling interval. The model is a continuous system: simulate it, discretise it, refine it with `fit`.

    Args:
        library: candidate terms, such as `systems.models.Polynomial(2)`; inputs of the record take part.
        data: one record whose outputs are the states, or several, stacked: of unequal length, with uneven times.
        method: `ErrorsInVariables()` for noisy records, else `STLSQ(threshold)` or `Bagging(STLSQ(threshold))`.
        names: names of the states, then of the inputs.
        key: for methods that draw, such as `Bagging`.

    Returns:
        `Solution`: `value` is a `systems.models.SINDy`, which prints its equations; `stats` is `SparseStats`;
        `RESULTS.diverged` if no finite coefficients were found (all are zero then).

    Raises:
        ValueError: too few samples, an output that never changes; what the method raises.

    Gradient: none.

    Examples:
        ```python
        from sciml.systems.models import Polynomial
        from sciml.training.sparse import sindy, STLSQ

        t = jnp.linspace(0.0, 4.0, 81)
        swing = sciml.sources.record(jnp.stack([jnp.cos(2 * t), -2 * jnp.sin(2 * t)], axis=1), t=t)
        found = sindy(Polynomial(1), swing, STLSQ(0.5), names=["angle", "rate"])
        assert str(found.value).splitlines()[0].startswith("d angle/dt = ")
        assert abs(found.value.coefficients[1, 1] + 4) < 0.1  # d rate/dt = -4 angle
        ```
    """
    chain = chain_of(data)
    coefficients, stats = method.identify(library, chain, key=key)
    if stats.x is not None:
        stats = replace(stats, x=stats.x.reshape(data.y.shape))
    is_sound = jnp.all(jnp.isfinite(coefficients))
    inputs = None if data.u is None else data.u.shape[-1]
    model = SINDy(library, jnp.where(is_sound, coefficients, 0), inputs=inputs, names=names)
    return Solution(model, RESULTS.where(is_sound, RESULTS.successful, RESULTS.diverged), stats)
