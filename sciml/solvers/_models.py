"""The quadratic model of a program at a primal-dual point, with the linear algebra that fits the program."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..programs import FlatProgram, null_space
from ._dense import DenseFactors, DenseModel
from ._derivatives import derivatives
from ._stage_model import StageFactors, StageModel


class NullSpaceModel(eqx.Module):
    """A dense model whose equalities are eliminated by a basis of their null space."""

    dense: DenseModel
    """With equalities, to be applied; factorised without."""
    basis: Float[Array, "n k"]
    inverse: Float[Array, "n h"]

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """`H x`."""
        return self.dense.curvature(x)

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`C x`."""
        return self.dense.rows(x)

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`Cᵀ y`."""
        return self.dense.rows_transposed(y)

    def equalities(self, x: Float[Array, " n"]) -> Float[Array, " h"]:
        """`E x`."""
        return self.dense.equalities(x)

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """`Eᵀ y`."""
        return self.dense.equalities_transposed(y)

    def diagonal(self) -> Float[Array, " n"]:
        """The diagonal of `H`."""
        return self.dense.diagonal()

    def squares(self, weights: Float[Array, " n"]) -> tuple[Float[Array, " m"], Float[Array, " h"]]:
        """The diagonals of `C diag(weights) Cᵀ` and of `E diag(weights) Eᵀ`."""
        return self.dense.squares(weights)

    def factorise(
        self, weights: Float[Array, " m"], rho: Float[Array, " n"], delta: Float[Array, "..."]
    ) -> "NullSpaceFactors":
        """Factors of `Zᵀ(H + Cᵀ diag(weights) C + diag(ρ))Z`."""
        dense, basis = self.dense, self.basis
        none = jnp.zeros((0, basis.shape[1]), basis.dtype)
        H = basis.T @ (dense.H @ basis + rho[:, None] * basis)
        reduced = DenseModel(H, dense.G @ basis, none, basis if dense.is_bounded else None, dense.is_bounded)
        factors = reduced.factorise(weights, jnp.zeros((), H.dtype), delta)
        return NullSpaceFactors(weights, rho, factors, factors.is_definite, factors.pivot)

    def solve(
        self, factors: "NullSpaceFactors", right: Float[Array, " n"], level: Float[Array, " h"]
    ) -> tuple[Array, Array]:
        """`dx = A⁺ level + Z dy`, and the `dν` that explains what is left of `right`."""
        weights, rho = factors.weights, factors.rho
        matrix = lambda x: self.curvature(x) + rho * x + self.rows_transposed(weights * self.rows(x))
        particular = self.inverse @ level
        rest = self.basis.T @ (right - matrix(particular))
        dx = particular + self.basis @ factors.reduced.solve(rest)
        return dx, self.inverse.T @ (right - matrix(dx))


class NullSpaceFactors(eqx.Module):
    """A factored model, without its equalities."""

    weights: Float[Array, " m"]
    rho: Float[Array, " n"]
    reduced: DenseFactors
    is_definite: Bool[Array, ""]
    pivot: Scalar

    @property
    def witness(self) -> Scalar:
        """That of the reduced factors."""
        return self.reduced.witness

    def inverted(self) -> "NullSpaceFactors":
        """Factors whose solves are products, see `DenseFactors`."""
        return NullSpaceFactors(self.weights, self.rho, self.reduced.inverted(), self.is_definite, self.pivot)


class ScaledModel(eqx.Module):
    """A model with its rows and equalities multiplied by factors, and its decision measured in units.

    The factors stay beside the matrices: constraints that are linear have the same Jacobian in every instance of a
    batch, and multiplied by an instance's own factors they would not.
    """

    model: DenseModel | StageModel
    ineq: Float[Array, " g"]
    eq: Float[Array, " h"]
    column: Float[Array, " n"] | None = None
    """`x = column · x̂`, where `x̂` is what the methods take and return; None for ones."""

    @property
    def eliminates(self) -> bool:
        """Whether a solve satisfies the equalities exactly."""
        return self.model.eliminates

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """`H x`."""
        return self._measured(self.model.curvature(self._measured(x)))

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`C x`."""
        return self._times(self.model.rows(self._measured(x)))

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`Cᵀ y`."""
        return self._measured(self.model.rows_transposed(self._times(y)))

    def equalities(self, x: Float[Array, " n"]) -> Float[Array, " h"]:
        """`E x`."""
        return self.eq * self.model.equalities(self._measured(x))

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """`Eᵀ y`."""
        return self._measured(self.model.equalities_transposed(self.eq * y))

    def eq_size(self) -> Scalar:
        """About the largest squared norm of a row of `E`."""
        return self.model.eq_size(self.column)

    def size(self) -> Scalar:
        """The largest entry of the Hessian in absolute value."""
        return self.model.size(self.column)

    def largest_diagonal(self, weights: Float[Array, " m"]) -> Scalar:
        """The largest diagonal entry of `H + Cᵀ diag(weights) C` in absolute value."""
        diagonal = self.model.diagonal(self._times(self._times(weights)))
        return jnp.max(jnp.abs(self._measured(self._measured(diagonal))), initial=0.0)

    def row_sizes(self) -> tuple[Float[Array, " m"], Float[Array, " h"]]:
        """The squared norms of the rows of `C` and of `E`."""
        ones = jnp.ones_like(self.ineq, shape=(self.model.n,))
        rows, eq = self.model.squares(self._measured(self._measured(ones)))
        return self._times(self._times(rows)), self.eq**2 * eq

    def shifted(self, shift: Scalar) -> "ScaledModel":
        """The model with `H + shift I`, whatever the units of the decision."""
        return eqx.tree_at(lambda s: s.model, self, self.model.shifted(shift))

    def straight(self) -> "ScaledModel":
        """The model without its Hessian."""
        return eqx.tree_at(lambda s: s.model, self, self.model.straight())

    def is_finite(self) -> Array:
        """Whether every entry is finite."""
        return self.model.is_finite()

    def factorise(
        self, weights: Float[Array, " m"], rho: Scalar, delta: Float[Array, "..."]
    ) -> DenseFactors | StageFactors:
        """Factors, with weights for the scaled rows; `delta` is that of the equalities before scaling."""
        rho = rho if self.column is None else rho / self.column**2
        return self.model.factorise(self._times(self._times(weights)), rho, delta)

    def solve(
        self, factors: DenseFactors | StageFactors, right: Float[Array, " n"], level: Float[Array, " h"]
    ) -> tuple[Array, Array]:
        """`dx` and `dν` for the scaled equalities."""
        back = lambda x: x if self.column is None else x / self.column
        dx, dnu = self.model.solve(factors, back(right), level / self.eq)  # pyright: ignore[reportArgumentType]
        return back(dx), dnu / self.eq

    def _measured(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return x if self.column is None else self.column * x

    def _times(self, y: Float[Array, " m"]) -> Float[Array, " m"]:
        """`y` times the factors of its rows; bounds are measured as their entries are."""
        g = self.ineq.size
        if self.column is not None and y.size > g:
            return y * jnp.concatenate([self.ineq, 1.0 / self.column, 1.0 / self.column])
        return jnp.concatenate([self.ineq * y[:g], y[g:]]) if g else y


Model = DenseModel | NullSpaceModel | StageModel


def model_at(program: FlatProgram, x: Array, ineq: Array, eq: Array, p: Any) -> Model:
    """The Hessian of the Lagrangian, the Jacobians, and how to solve with them.

    Args:
        program: the program.
        x, ineq, eq: decision and multipliers.
        p: the instance.
    """
    if program.quadratic is not None:
        data = program.quadratic(p)
        dense = DenseModel(data.Q, data.G, data.A, None, program.is_bounded)
        if program.rank is not None and 0 < program.rank < program.size:
            return NullSpaceModel(dense, *null_space(data.A, program.rank))
        return dense

    return derivatives(program, x, p, lambda g, h: (ineq, eq), jnp.ones((), x.dtype), program.is_bounded).model
