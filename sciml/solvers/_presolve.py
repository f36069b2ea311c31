"""A quadratic program scaled, and reduced to the null space of its equalities; and the way back.

All of it depends on the matrices alone where it is expensive, so that a batch that shares them pays once.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..programs import null_space, Quadratic
from ._dense import DenseModel

_COARSE = 1e-10  # rounding from which on rows are evaluated in the full space

Limits = tuple[Float[Array, " n"], Float[Array, " n"]]


class Scales(eqx.Module):
    """`x = column · x̂`, rows multiplied by `ineq` and `eq`, the objective by `objective`."""

    column: Float[Array, " n"]
    ineq: Float[Array, " g"]
    eq: Float[Array, " h"]
    objective: Scalar


class Recovery(eqx.Module):
    """What leads back from the reduced to the given program."""

    data: Quadratic
    """Scaled."""
    scales: Scales
    basis: Float[Array, "n k"] | None
    inverse: Float[Array, "n h"] | None
    particular: Float[Array, " n"]

    def decision(self, y: Float[Array, " k"]) -> Float[Array, " n"]:
        """The unscaled decision."""
        return self.scales.column * self._corrected(y)

    def rows(self, y: Float[Array, " k"]) -> tuple[Float[Array, " g"], Float[Array, " n"]]:
        """`Gx - h` of the scaled program, without the rounding of reduced `G` and `h`, and `x` less its particular."""
        x = self._corrected(y)
        return self.data.G @ x - self.data.h, x - self.particular

    def multipliers(
        self, y: Float[Array, " k"], z: Float[Array, " m"], nu: Float[Array, " e"]
    ) -> tuple[Float[Array, " g"], Float[Array, " h"]]:
        """Unscaled multipliers of inequalities and equalities.

        Eliminated equalities get theirs from stationarity, `Aᵀν = -(Qx + q + Cᵀz)`, by the pseudoinverse.
        """
        data, scales, g = self.data, self.scales, self.scales.ineq.size
        if self.inverse is not None:
            slope = data.Q @ self._full(y) + data.q + data.G.T @ z[:g]
            if z.size > g:
                lower, upper = jnp.split(z[g:], 2)
                slope = slope + upper - lower
            nu = -(self.inverse.T @ slope)
        return scales.ineq * z[:g] / scales.objective, scales.eq * nu / scales.objective

    def _corrected(self, y: Float[Array, " k"]) -> Float[Array, " n"]:
        """The scaled decision; its eliminated equalities are corrected once for rounding."""
        x = self._full(y)
        return x if self.inverse is None else x + self.inverse @ (self.data.b - self.data.A @ x)

    def _full(self, y: Float[Array, " k"]) -> Float[Array, " n"]:
        return y if self.basis is None else self.particular + self.basis @ y


class Reduced(eqx.Module):
    """minimise `½ xᵀHx + cᵀx` subject to `C x <= d`, `E x = e`: the program that the iterations see."""

    model: Any  # DenseModel, or whatever has its methods
    c: Float[Array, " k"]
    d: Float[Array, " m"]
    e: Float[Array, " e"]
    exists: Bool[Array, " m"]
    """Rows with a finite right-hand side."""
    is_equality: Bool[Array, " m"]
    """Lower bounds that coincide with upper bounds."""
    box: Float[Array, " n"]
    """The largest absolute value that the bounds allow each entry of the decision (in its basis); infinite for none."""
    origin: Recovery | None = None
    """The way back, where its rows are to be evaluated."""

    def excess(self, x: Float[Array, " k"]) -> Float[Array, " m"]:
        """`C x - d`, zero in rows that do not exist."""
        if self.origin is None:
            return jnp.where(self.exists, self.model.rows(x) - self.d, 0.0)
        ineq, moved = self.origin.rows(x)
        both = jnp.concatenate([-moved, moved]) if self.d.size > ineq.size else ineq[:0]
        return jnp.where(self.exists, jnp.concatenate([ineq, both - self.d[ineq.size :]]), 0.0)


class Units(eqx.Module):
    """What measures the residual of a reduced program in the units of the given one."""

    basis: Float[Array, "n k"] | None
    """Of the decision; None for the identity."""
    column: Float[Array, " n"]
    row: Float[Array, " m"]
    """Unscaled row = scaled row times this."""
    eq: Float[Array, " h"]
    """Scaled equality = unscaled equality times this."""
    objective: Scalar

    def slope(self, r: Float[Array, " k"]) -> Float[Array, " n"]:
        """An unscaled residual of stationarity."""
        full = r if self.basis is None else self.basis @ r
        return full / (self.column * self.objective)


def presolve(
    data: Quadratic, limits: Limits, *, rank: int | None, is_bounded: bool, rounds: int
) -> tuple[Reduced, Recovery, Units]:
    """The reduced program, the way back, and its units.

    Args:
        data: matrices and vectors.
        limits: lower and upper bounds.
        rank: of `A` where it is known beforehand: then the equalities are eliminated. Else they stay.
        is_bounded: whether there is any bound.
        rounds: of equilibration.
    """
    scaled, scales = _equilibrate(data, rounds)
    n = scaled.q.size
    basis, inverse = null_space(scaled.A, rank) if rank is not None and 0 < rank < n else (None, None)
    x = jnp.zeros_like(scaled.q) if inverse is None else inverse @ scaled.b
    H, G, c, h = scaled.Q, scaled.G, scaled.q, scaled.h
    E, e = scaled.A, scaled.b
    if basis is not None:
        H, G, c = basis.T @ (H @ basis), G @ basis, basis.T @ (c + scaled.Q @ x)
        h = h - scaled.G @ x
        E, e = jnp.zeros((0, basis.shape[1]), H.dtype), jnp.zeros((0,), H.dtype)
    lower, upper = limits[0] / scales.column, limits[1] / scales.column
    d, row_size = [h], [1.0 / scales.ineq]
    is_equality, box = jnp.zeros(h.size, bool), jnp.full_like(x, jnp.inf)
    if is_bounded:
        box = jnp.maximum(jnp.abs(x - lower), jnp.abs(upper - x))
        d += [x - lower, upper - x]
        row_size += [scales.column, scales.column]
        size = jnp.maximum(1.0, jnp.abs(jnp.where(jnp.isfinite(limits[0]), limits[0], 0.0)))
        fixed = limits[1] - limits[0] <= 10 * jnp.finfo(c.dtype).eps * size
        is_equality = jnp.concatenate([is_equality, fixed, jnp.zeros_like(fixed)])
        d[2] = jnp.where(fixed, jnp.inf, d[2])
    rows = jnp.concatenate(d)
    exists = jnp.isfinite(rows)
    model = DenseModel(H, G, E, basis if is_bounded else None, is_bounded)
    recovery = Recovery(scaled, scales, basis, inverse, x)
    # In float32 the products that made the reduced rows leave a few 1e-6 of what they cancel.
    origin = recovery if basis is not None and jnp.finfo(c.dtype).eps > _COARSE else None
    reduced = Reduced(model, c, jnp.where(exists, rows, 0.0), e, exists, is_equality & exists, box, origin)
    units = Units(basis, scales.column, jnp.concatenate(row_size), scales.eq, scales.objective)
    return reduced, recovery, units


def _equilibrate(data: Quadratic, rounds: int) -> tuple[Quadratic, Scales]:
    """Rows and columns of `[Q Aᵀ Gᵀ; A; G]` brought to largest entries of about one, and then the objective.

    Source: Ruiz (2001), A scaling algorithm to equilibrate both rows and columns norms in matrices, RAL-TR-2001-034;
    Stellato et al. (2020), OSQP, section 5.1, DOI 10.1007/s12532-020-00179-2.
    """
    n, h = data.q.size, data.b.size
    stacked = jnp.abs(jnp.concatenate([data.Q, data.A, data.G]))
    column, row = jnp.ones_like(data.q), jnp.ones(stacked.shape[0] - n, data.q.dtype)
    for _ in range(rounds):
        scaled = stacked * jnp.concatenate([column, row])[:, None] * column
        column = column * _inverse_root(jnp.max(scaled, axis=0, initial=0.0))
        row = row * _inverse_root(jnp.max(scaled[n:], axis=1, initial=0.0))
    eq, ineq = row[:h], row[h:]
    column, eq, ineq = jnp.clip(column, 1e-4, 1e4), jnp.clip(eq, 1e-10, 1e10), jnp.clip(ineq, 1e-10, 1e10)
    S = data.Q * column * column[:, None]
    mean = jnp.mean(jnp.max(jnp.abs(S), axis=0)) if data.q.size else jnp.ones((), data.q.dtype)
    objective = jnp.where(mean > 0, 1.0 / jnp.clip(jnp.where(mean > 0, mean, 1.0), 1e-4, 1e4), 1.0)
    finite = jnp.isfinite(objective) & jnp.all(jnp.isfinite(column)) & jnp.all(jnp.isfinite(ineq))
    safe = lambda v: jnp.where(finite & jnp.all(jnp.isfinite(eq)), v, jnp.ones_like(v))
    column, eq, ineq, objective = safe(column), safe(eq), safe(ineq), safe(objective)
    scaled = Quadratic(
        objective * (data.Q * column * column[:, None]),
        objective * column * data.q,
        data.A * column * eq[:, None],
        eq * data.b,
        data.G * column * ineq[:, None],
        ineq * data.h,
    )
    return scaled, Scales(column, ineq, eq, objective)


def _inverse_root(v: Array) -> Array:
    """`1 / √v`, and one for zero."""
    return jnp.where(v > 0, 1.0 / jnp.sqrt(jnp.where(v > 0, v, 1.0)), 1.0)
