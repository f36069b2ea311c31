"""Orthogonal matrices as products of Householder reflections."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.core import solve_triangular


def reflections(vectors: Float[Array, "n k"]) -> Float[Array, "n n"]:
    """`H_1 H_2 ... H_k` with `H_i = I - 2 v_i v_iᵀ/‖v_i‖²`, for the columns `v_i`; orthogonal to rounding.

    The product is `I - V S⁻¹ Vᵀ`, where `S` is the part of `VᵀV` above the diagonal plus half of the diagonal: one
    triangular solve instead of `k` dependent updates.

    Source: C. Puglisi (1992), SIAM J. Sci. Stat. Comput. 13(3), 723-726; T. Joffrain et al. (2006), ACM Trans. Math.
    Softw. 32(2), 169-179.
    """
    squares = jnp.sum(vectors**2, axis=0)
    # a zero column has no direction; any will do
    unit = jnp.where(squares > 0, vectors, 1) / jnp.sqrt(jnp.where(squares > 0, squares, vectors.shape[0]))
    gram = unit.T @ unit
    S = jnp.triu(gram, 1) + jnp.diag(jnp.diag(gram)) / 2
    eye = jnp.eye(vectors.shape[0], dtype=vectors.dtype)
    return eye - unit @ solve_triangular(S.T, unit.T, transposed=True)
