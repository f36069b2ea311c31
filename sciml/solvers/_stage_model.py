"""The linear algebra of an optimal-control program: one Riccati recursion for each Newton step, linear in the horizon.

Barrier terms of bounds and path limits are diagonal in the rows, so they only change the weights of their stage
(Rao, Wright & Rawlings 1998, Application of interior-point methods to model predictive control, DOI
10.1023/A:1021711402723). The dynamics are eliminated exactly; a terminal equality enters as `1 / δ EᵀE`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from ..programs import by_leaf, by_stage, Stages
from ._riccati import AbstractScan, factorise, Factors, LQ


class StageModel(eqx.Module):
    """`½ vᵀHv`, rows and equalities of a transcribed program, by stages. Stage 0 has no state: `x_0` is given."""

    stages: Stages
    scan: AbstractScan
    lq: LQ
    Gx: Float[Array, "time g x"]
    """Path limits by the state of their stage."""
    Gu: Float[Array, "time g u"]
    last_g: Float[Array, "tg x"]
    """Terminal inequalities by the last state."""
    last_h: Float[Array, "th x"]
    is_bounded: bool = eqx.field(static=True)

    eliminates = True  # a solve satisfies the dynamics exactly

    def curvature(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        """`H v`."""
        x, u = self._split(v)
        lq = self.lq
        below = _times(lq.Q[:-1], x[:-1]) + _times(lq.S.mT, u)
        last = (lq.Q[-1] @ x[-1])[None]
        return self._join(jnp.concatenate([below, last]), _times(lq.S, x[:-1]) + _times(lq.R, u))

    def rows(self, v: Float[Array, " n"]) -> Float[Array, " m"]:
        """`[G v; -v; v]`."""
        x, u = self._split(v)
        path = _times(self.Gx, x[:-1]) + _times(self.Gu, u)
        g = jnp.concatenate([by_leaf(path, self.stages.path_sizes), self.last_g @ x[-1]])
        return jnp.concatenate([g, -v, v]) if self.is_bounded else g

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`[G; -I; I]ᵀ y`."""
        path, last = self._cut(y)
        x = jnp.concatenate([_times(self.Gx.mT, path), (self.last_g.T @ last)[None]])
        total = self._join(x, _times(self.Gu.mT, path))
        if not self.is_bounded:
            return total
        lower, upper = jnp.split(y[self.n_ineq :], 2)
        return total + upper - lower

    def equalities(self, v: Float[Array, " n"]) -> Float[Array, " h"]:
        """`x_{k+1} - A x_k - B u_k`, and the terminal equality."""
        x, u = self._split(v)
        defects = x[1:] - _times(self.lq.A, x[:-1]) - _times(self.lq.B, u)
        return jnp.concatenate([by_leaf(defects, self.stages.x_sizes), self.last_h @ x[-1]])

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """Their transpose."""
        stages = self.stages
        n = stages.horizon * stages.nx
        nu, last = by_stage(y[:n], stages.horizon, stages.x_sizes), y[n:]
        none = jnp.zeros_like(nu[:1])
        x = jnp.concatenate([none, nu]) - jnp.concatenate([_times(self.lq.A.mT, nu), none])
        x = x.at[-1].add(self.last_h.T @ last)
        return self._join(x, -_times(self.lq.B.mT, nu))

    @property
    def n(self) -> int:
        """Number of entries of the decision."""
        return self.stages.horizon * self.stages.width

    def eq_size(self, column: Float[Array, " n"] | None = None) -> Scalar:
        """The largest squared norm of a terminal equality's row, by units of the decision with `column`."""
        last = self.last_h if column is None else self.last_h * self._split(column)[0][-1]
        return jnp.max(jnp.sum(last**2, axis=1), initial=0.0)

    def size(self, column: Float[Array, " n"] | None = None) -> Scalar:
        """The largest entry of the Hessian in absolute value, by units of the decision with `column`."""
        parts = self.lq.Q, self.lq.S, self.lq.R
        if column is not None:
            x, u = self._split(column)
            both = lambda rows, columns: rows[:, :, None] * columns[:, None, :]
            parts = parts[0] * both(x, x), parts[1] * both(u, x[:-1]), parts[2] * both(u, u)
        return jnp.max(jnp.asarray([jnp.max(jnp.abs(part)) for part in parts]))

    def diagonal(self, weights: Float[Array, " m"] | None = None) -> Float[Array, " n"]:
        """The diagonal of `H`, of `H + Cᵀ diag(weights) C` with `weights`."""
        along = lambda blocks: jnp.diagonal(blocks, axis1=1, axis2=2)
        diagonal = self._join(along(self.lq.Q), along(self.lq.R))
        if weights is None:
            return diagonal
        path, last = self._cut(weights)
        x = jnp.concatenate([_times((self.Gx**2).mT, path), ((self.last_g**2).T @ last)[None]])
        total = diagonal + self._join(x, _times((self.Gu**2).mT, path))
        return total + jnp.sum(weights[self.n_ineq :].reshape(2, -1), axis=0) if self.is_bounded else total

    def shifted(self, shift: Scalar) -> "StageModel":
        """The model with `H + shift I`."""
        lq, eye = self.lq, lambda n: jnp.eye(n, dtype=self.lq.Q.dtype)
        Q, R = lq.Q + shift * eye(self.stages.nx), lq.R + shift * eye(self.stages.nu)
        lq = LQ(Q, lq.S, R, lq.A, lq.B)
        return StageModel(self.stages, self.scan, lq, self.Gx, self.Gu, self.last_g, self.last_h, self.is_bounded)

    def straight(self) -> "StageModel":
        """The model with `H = 0`."""
        hessian = lambda model: (model.lq.Q, model.lq.S, model.lq.R)
        return eqx.tree_at(hessian, self, tuple(jnp.zeros_like(part) for part in hessian(self)))

    def squares(self, weights: Float[Array, " n"]) -> tuple[Float[Array, " m"], Float[Array, " h"]]:
        """The diagonals of `C diag(weights) Cᵀ` and of `E diag(weights) Eᵀ`."""
        x, u = self._split(weights)
        path = _times(self.Gx**2, x[:-1]) + _times(self.Gu**2, u)
        g = jnp.concatenate([by_leaf(path, self.stages.path_sizes), (self.last_g**2) @ x[-1]])
        defects = x[1:] + _times(self.lq.A**2, x[:-1]) + _times(self.lq.B**2, u)
        h = jnp.concatenate([by_leaf(defects, self.stages.x_sizes), (self.last_h**2) @ x[-1]])
        return (jnp.concatenate([g, weights, weights]) if self.is_bounded else g), h

    def largest_by_rows(self) -> tuple[Float[Array, " g"], Float[Array, " h"]]:
        """The largest entry in absolute value of every inequality, bounds not counted, and of every equality."""
        largest = lambda *blocks: jnp.max(jnp.abs(jnp.concatenate(blocks, axis=-1)), axis=-1, initial=0.0)
        path, step = largest(self.Gx, self.Gu), jnp.maximum(largest(self.lq.A, self.lq.B), 1.0)
        rows, defects = by_leaf(path, self.stages.path_sizes), by_leaf(step, self.stages.x_sizes)
        return jnp.concatenate([rows, largest(self.last_g)]), jnp.concatenate([defects, largest(self.last_h)])

    def is_finite(self) -> Bool[Array, ""]:
        """Whether every entry is finite."""
        parts = (self.lq.Q, self.lq.S, self.lq.R, self.lq.A, self.lq.B, self.Gx, self.Gu, self.last_g, self.last_h)
        return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(part)) for part in parts]))

    def factorise(
        self, weights: Float[Array, " m"], rho: Float[Array, "..."], delta: Float[Array, "..."]
    ) -> "StageFactors":
        """Factors of the model with `½ vᵀCᵀ diag(weights) C v` and `½ vᵀ diag(ρ) v` added.

        Args:
            weights: `>= 0`, one for each row.
            rho: primal regularisation, one number or one for each entry.
            delta: regularisation of the equalities, of which only the terminal ones need it; one number or one for
                each.
        """
        stages, lq = self.stages, self.lq
        delta = delta if jnp.ndim(delta) == 0 else delta[stages.horizon * stages.nx :]
        path, last = self._cut(weights)
        diagonal = jnp.full((stages.horizon * stages.width,), rho)
        if self.is_bounded:
            lower, upper = jnp.split(weights[self.n_ineq :], 2)
            diagonal = diagonal + lower + upper
        x, u = self._split(diagonal)
        weighted = path[:, :, None]
        eye_x, eye_u = jnp.eye(stages.nx, dtype=x.dtype), jnp.eye(stages.nu, dtype=x.dtype)
        Q = lq.Q + x[:, :, None] * eye_x
        Q = Q.at[:-1].add(self.Gx.mT @ (weighted * self.Gx))
        Q = Q.at[-1].add(self.last_g.T @ (last[:, None] * self.last_g) + self.last_h.T @ (self.last_h.T / delta).T)
        S = lq.S + self.Gu.mT @ (weighted * self.Gx)
        R = lq.R + u[:, :, None] * eye_u + self.Gu.mT @ (weighted * self.Gu)
        factors = factorise(LQ(Q, S, R, lq.A, lq.B), self.scan)
        return StageFactors(factors, delta, factors.is_definite)

    def solve(
        self, factors: "StageFactors", right: Float[Array, " n"], level: Float[Array, " h"]
    ) -> tuple[Array, Array]:
        """`dv` and `dν` with `M dv + Eᵀdν = right` and `E dv = level` (for the terminal rows `- δ dν`)."""
        stages = self.stages
        n = stages.horizon * stages.nx
        last = level[n:] / factors.delta
        q, r = self._split(right)
        q, c = q.at[-1].add(self.last_h.T @ last), by_stage(level[:n], stages.horizon, stages.x_sizes)
        x, u, nu = factors.factors.solve(-q, -r, c, jnp.zeros(stages.nx, right.dtype))
        end = (self.last_h @ x[-1]) / factors.delta - last
        return self._join(x, u), jnp.concatenate([by_leaf(nu, stages.x_sizes), end])

    @property
    def n_ineq(self) -> int:
        """Number of inequalities, bounds not counted."""
        return self.stages.n_path + self.stages.n_terminal_ineq

    def _split(self, v: Array) -> tuple[Array, Array]:
        """States 0 ... N (the first is zero) and inputs."""
        x, u = self.stages.split(v)
        return jnp.concatenate([jnp.zeros_like(x[:1]), x]), u

    def _join(self, x: Array, u: Array) -> Array:
        return self.stages.join(x[1:], u)

    def _cut(self, y: Array) -> tuple[Array, Array]:
        """Entries of path limits by stage, and of terminal inequalities."""
        stages = self.stages
        path = by_stage(y[: stages.n_path], stages.horizon, stages.path_sizes)
        return path, y[stages.n_path : self.n_ineq]


class StageFactors(eqx.Module):
    """A factored model."""

    factors: Factors
    delta: Float[Array, "..."]
    is_definite: Bool[Array, ""]

    @property
    def pivot(self) -> Scalar:
        """The reciprocal of the largest entry of the inverse of an input's weight: a lower estimate of the pivots."""
        largest = jnp.max(jnp.abs(self.factors.inverse))
        return jnp.where(self.is_definite, 1.0 / largest, 0.0)

    @property
    def witness(self) -> Scalar:
        """A number that depends on the whole factorisation and orders later LAPACK calls."""
        return self.pivot

    def inverted(self) -> "StageFactors":
        """These: their solves are products already."""
        return self


def _times(matrices: Float[Array, "time r c"], vectors: Float[Array, "time c"]) -> Float[Array, "time r"]:
    return jnp.einsum("trc,tc->tr", matrices, vectors)
