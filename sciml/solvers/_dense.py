"""Dense linear algebra of a quadratic model with equalities, inequalities and bounds.

Rows of one kind for solvers, multipliers and derivatives alike: `C = [G; -B; B]` for inequalities, lower and upper
bounds, where `B` is the identity, or a basis in which the decision is expressed.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..core import cholesky, solve_cholesky, solve_triangular
from ._gram import weighted_gram


class DenseModel(eqx.Module):
    """`½ xᵀHx` with rows `C x` and equalities `E x`."""

    H: Float[Array, "n n"]
    G: Float[Array, "g n"]
    E: Float[Array, "h n"]
    basis: Float[Array, "b n"] | None
    """`B`; None for the identity."""
    is_bounded: bool = eqx.field(static=True)

    eliminates = False  # a regularised solve violates the equalities by δ times their multipliers

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """`H x`."""
        return self.H @ x

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`C x`."""
        if not self.is_bounded:
            return self.G @ x
        bounded = x if self.basis is None else self.basis @ x
        return jnp.concatenate([self.G @ x, -bounded, bounded])

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`Cᵀ y`."""
        g = self.G.shape[0]
        total = self.G.T @ y[:g]
        if not self.is_bounded:
            return total
        lower, upper = jnp.split(y[g:], 2)
        both = upper - lower
        return total + (both if self.basis is None else self.basis.T @ both)

    def equalities(self, x: Float[Array, " n"]) -> Float[Array, " h"]:
        """`E x`."""
        return self.E @ x

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """`Eᵀ y`."""
        return self.E.T @ y

    @property
    def n(self) -> int:
        """Number of entries of the decision."""
        return self.H.shape[0]

    def eq_size(self, column: Float[Array, " n"] | None = None) -> Scalar:
        """The largest squared norm of a row of `E`, of `E diag(column)` with `column`."""
        E = self.E if column is None else self.E * column
        return jnp.max(jnp.sum(E**2, axis=1), initial=0.0)

    def size(self, column: Float[Array, " n"] | None = None) -> Scalar:
        """The largest entry of the Hessian in absolute value, by units of the decision with `column`."""
        H = self.H if column is None else self.H * column * column[:, None]
        return jnp.max(jnp.abs(H), initial=0.0)

    def diagonal(self, weights: Float[Array, " m"] | None = None) -> Float[Array, " n"]:
        """The diagonal of `H`, of `H + Cᵀ diag(weights) C` with `weights`."""
        diagonal = jnp.diagonal(self.H)
        return diagonal if weights is None else diagonal + self.rows_transposed_squares(weights)

    def shifted(self, shift: Scalar) -> "DenseModel":
        """The model with `H + shift I`."""
        H = self.H + shift * jnp.eye(self.H.shape[0], dtype=self.H.dtype)
        return DenseModel(H, self.G, self.E, self.basis, self.is_bounded)

    def straight(self) -> "DenseModel":
        """The model with `H = 0`."""
        return eqx.tree_at(lambda model: model.H, self, jnp.zeros_like(self.H))

    def squares(self, weights: Float[Array, " n"]) -> tuple[Float[Array, " m"], Float[Array, " h"]]:
        """The diagonals of `C diag(weights) Cᵀ` and of `E diag(weights) Eᵀ`, where `B` is the identity."""
        rows, eq = (self.G**2) @ weights, (self.E**2) @ weights
        return (jnp.concatenate([rows, weights, weights]) if self.is_bounded else rows), eq

    def rows_transposed_squares(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        """The diagonal of `Cᵀ diag(weights) C`."""
        g = self.G.shape[0]
        total = (self.G**2).T @ weights[:g]
        if not self.is_bounded:
            return total
        lower, upper = jnp.split(weights[g:], 2)
        return total + (lower + upper if self.basis is None else (self.basis**2).T @ (lower + upper))

    def is_finite(self) -> Bool[Array, ""]:
        """Whether every entry is finite."""
        # The largest entry is NaN where any is, and of the Hessian it is wanted anyway.
        largest = lambda part: jnp.max(jnp.abs(part), initial=0.0)
        return jnp.isfinite(self.size()) & jnp.isfinite(largest(self.G)) & jnp.isfinite(largest(self.E))

    def factorise(
        self, weights: Float[Array, " m"], rho: Float[Array, "..."], delta: Float[Array, "..."]
    ) -> "DenseFactors":
        """Factors of the model with `½ xᵀCᵀ diag(weights) C x` and `½ xᵀ diag(ρ) x` added.

        Args:
            weights: `>= 0`, one for each row.
            rho: primal regularisation, one number or one for each entry.
            delta: regularisation of the equalities, which enter as `1 / δ EᵀE`; one number or one for each.
        """
        n, g = self.H.shape[0], self.G.shape[0]
        matrix = self.H + weighted_gram(self.G, weights[:g])
        diagonal = jnp.full((n,), rho)
        if self.is_bounded:
            lower, upper = jnp.split(weights[g:], 2)
            if self.basis is None:
                diagonal = diagonal + lower + upper
            else:
                matrix = matrix + weighted_gram(self.basis, lower + upper)
        if self.E.shape[0]:
            # One number may vary over a batch that shares `E`: it divides the product, which is then shared too.
            one = jnp.ndim(delta) == 0
            matrix = matrix + ((self.E.T @ self.E) / delta if one else self.E.T @ (self.E / delta[:, None]))
        matrix = matrix + jnp.diag(diagonal)
        # LAPACK reads and writes by columns, all else is by rows: the transposes spare a copy before and after.
        upper = cholesky(matrix.T).T
        pivots = jnp.diagonal(upper)
        is_definite = jnp.all(jnp.isfinite(pivots))
        upper = jnp.where(is_definite, upper, jnp.eye(n, dtype=matrix.dtype))
        pivot = jnp.where(is_definite, jnp.min(pivots, initial=jnp.inf) ** 2, 0.0)
        return DenseFactors(upper, delta, is_definite, pivot)

    def solve(
        self, factors: "DenseFactors", right: Float[Array, " n"], level: Float[Array, " h"]
    ) -> tuple[Array, Array]:
        """`dx` and `dν` with `M dx + Eᵀdν = right` and `E dx - δ dν = level`."""
        if self.E.shape[0] == 0:
            return factors.solve(right), level
        # dν = (E dx - level) / δ, so (M + EᵀE / δ) dx = right + Eᵀ (level / δ).
        dx = factors.solve(right + self.E.T @ (level / factors.delta))
        return dx, (self.E @ dx - level) / factors.delta


class DenseFactors(eqx.Module):
    """A factored model; nothing that the model knows already, so that loops carry little."""

    upper: Float[Array, "n n"]
    """`U`, with `UᵀU` the matrix."""
    delta: Float[Array, "..."]
    is_definite: Bool[Array, ""]
    pivot: Scalar
    """The smallest pivot of the Cholesky factorisation."""
    is_inverse: bool = eqx.field(static=True, default=False)
    """Whether `upper` is `U⁻¹`."""

    @property
    def witness(self) -> Scalar:
        """A positive number that cannot be known before the factor is: the last entry of its diagonal."""
        return self.upper[-1, -1]

    def solve(self, right: Float[Array, " n"]) -> Float[Array, " n"]:
        """The factored matrix's inverse times `right`."""
        upper = self.upper
        return upper @ (upper.T @ right) if self.is_inverse else solve_cholesky(upper.T, right[:, None])[:, 0]

    def inverted(self) -> "DenseFactors":
        """Factors whose solves are products: several of them may run side by side, which those of LAPACK must not."""
        eye = jnp.eye(self.upper.shape[0], dtype=self.upper.dtype)
        half = solve_triangular(self.upper.T, eye)
        return DenseFactors(half.T, self.delta, self.is_definite, self.pivot, is_inverse=True)
