"""Cholesky factorisations of small dense matrices, unrolled while tracing.

Under `vmap` every scalar of unrolled code is a vector over the batch, and XLA fuses thousands of them into few loops;
LAPACK is called once for each matrix, and two independent batched calls in one program may wait for each other for
ever. Unrolled code grows as `n³` and so does its compile time: `UNROLLED` is where it stops paying (measured in
`benchmarks/solvers/riccati_kernel`). Nothing here tests for failure: a matrix that is not positive definite gives NaN,
in the pivot that failed and in all that follow it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core import cholesky as lapack_cholesky, solve_triangular

UNROLLED = 8
"""Largest `n` for which code is unrolled."""


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Lower `L` with `L Lᵀ = matrix`, of which only the lower triangle is read.

    Source: Golub and Van Loan (2013), *Matrix Computations*, 4th ed., algorithm 4.2.1 (by columns).
    """
    n = matrix.shape[0]
    if n > UNROLLED:
        return lapack_cholesky(matrix)
    entries: list[list[Array]] = [[] for _ in range(n)]
    zero = jnp.zeros((), matrix.dtype)
    for j in range(n):
        scale = jax.lax.rsqrt(_less(matrix[j, j], entries[j], entries[j]))
        # The pivot d times 1/√d; below it the column, times 1/√d.
        column = [_less(matrix[i, j], entries[i], entries[j]) * scale for i in range(j, n)]
        for i in range(n):
            entries[i].append(column[i - j] if i >= j else zero)
    return jnp.stack([entry for row in entries for entry in row]).reshape(n, n) if n else matrix


def solve_lower(factor: Float[Array, "n n"], right: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`L⁻¹ right` for several right-hand sides."""
    n = factor.shape[0]
    if n > UNROLLED:
        return solve_triangular(factor, right)
    rows: list[Array] = []
    for i in range(n):
        rows.append(_less(right[i], [factor[i, k] for k in range(i)], rows) / factor[i, i])
    return jnp.stack(rows) if n else right


def solve_upper(factor: Float[Array, "n n"], right: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`L⁻ᵀ right` for several right-hand sides."""
    n = factor.shape[0]
    if n > UNROLLED:
        return solve_triangular(factor, right, transposed=True)
    rows: list[Array] = []  # from the last row up
    for i in reversed(range(n)):
        rows.append(_less(right[i], [factor[k, i] for k in reversed(range(i + 1, n))], rows) / factor[i, i])
    return jnp.stack(rows[::-1]) if n else right


def solve_cholesky(factor: Float[Array, "n n"], right: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`(L Lᵀ)⁻¹ right` for several right-hand sides."""
    return solve_upper(factor, solve_lower(factor, right))


def factor_rows(above: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """`L⁻¹ [B, C]` for `above = [B, C]` with `B = L Lᵀ` its first `n` columns: one partial Cholesky factorisation.

    The first `n` columns of the result are `Lᵀ`; with `Y` the others, `D - YᵀY` is the Schur complement
    `D - Cᵀ B⁻¹ C` of `[[B, C], [Cᵀ, D]]`. Only the upper triangle of `B` is read for `n <= UNROLLED`.
    """
    n = above.shape[0]
    if n > UNROLLED:
        factor = lapack_cholesky(above[:, :n].T)
        return jnp.concatenate([factor.T, solve_lower(factor, above[:, n:])], axis=1)
    rows: list[Array] = []
    for j in range(n):
        row = _less(above[j], [done[j] for done in rows], rows)
        rows.append(row * jax.lax.rsqrt(row[j]))
    # Left of the diagonal stands what rounding left of zero.
    return jnp.triu(jnp.stack(rows))


def pivots_are_positive(rows: Float[Array, "n m"]) -> Bool[Array, ""]:
    """Whether `B = UᵀU` was positive definite to working accuracy, for `U` the first `n` columns of `rows`.

    Pivot `j`, `U[j, j]²`, is what is left of `B[j, j] = Σᵢ U[i, j]²`: nothing but rounding below ε times it.
    """
    upper = rows[:, : rows.shape[0]]
    pivots = jnp.diagonal(upper) ** 2
    # Both comparisons are false for NaN.
    return jnp.all((pivots > jnp.finfo(rows.dtype).eps * jnp.sum(upper**2, axis=0)) & (pivots < jnp.inf))


def _less(start: Array, left: list[Array], right: list[Array]) -> Array:
    """`start - Σ left·right` over the pairs that exist."""
    for a, b in zip(left, right, strict=False):
        start = start - a * b
    return start
