"""`Cᵀ diag(w) C`, as one matrix product over a batch where the batch shares `C`."""

from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

_LARGEST = 2**22  # entries of the table of products of columns that are worth their memory


def weighted_gram(C: Float[Array, "m n"], w: Float[Array, " m"]) -> Float[Array, "n n"]:
    """`Cᵀ diag(w) C`.

    With `C` shared by a batch, entry `(i, j)` is `Σ_r w_r C_ri C_rj`: weights times a table that all instances share,
    which is one matrix product for the whole batch instead of one small product for each instance. Whether `C` is
    shared is known to `vmap`, so nobody has to say it.
    """
    return _gram(C, w)


@custom_vmap
def _gram(C: Any, w: Any) -> Any:
    return (C.T * w) @ C


@_gram.def_vmap
def _gram_of_batch(axis_size: Any, in_batched: Any, C: Any, w: Any) -> Any:
    shared, varies = not in_batched[0], in_batched[1]
    if shared and not varies:
        return (C.T * w) @ C, False
    m, n = C.shape[-2:]
    if shared and m * n * n <= _LARGEST:
        table = (C[:, :, None] * C[:, None, :]).reshape(m, n * n)
        return (w @ table).reshape(axis_size, n, n), True
    axes = tuple(0 if batched else None for batched in in_batched)
    return jax.vmap(lambda C, w: (C.T * w) @ C, axes)(C, w), True
