"""Gauss-Newton systems of a chain of states with few shared parameters, in time linear in its length.

    [ A   C ] [ dx ]     [ g ]        A block-tridiagonal: blocks D[k] on the diagonal, O[k] in row k + 1, column k
    [ Cᵀ  H ] [ dθ ] = - [ b ]

With `S[0] = D[0]`, `S[k] = L[k] L[k]ᵀ`, block Cholesky runs down the chain:

    E[k] = L[k]⁻¹ O[k]ᵀ,   S[k+1] = D[k+1] - E[k]ᵀ E[k],   V[k+1] = L[k+1]⁻¹ (R[k+1] - E[k]ᵀ V[k]),   R = [C, g]

so that `V = L⁻¹ R` for the Cholesky factor of all of A. Hence `Cᵀ A⁻¹ [C, g] = Σ V_Cᵀ [V_C, v_g]`: the Schur complement
`M = H - Σ V_CᵀV_C` and the reduced gradient `b - Σ V_Cᵀ v_g` need no backward pass. That pass, for one right-hand side,
gives the states:

    L[k]ᵀ dx[k] = -(v_g[k] + V_C[k] dθ) - E[k] dx[k+1]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from sciml.core import cholesky, solve_triangular


class Arrow(eqx.Module):
    """The blocks of the system."""

    D: Float[Array, "time x x"]
    O: Float[Array, "link x x"]  # noqa: E741 (named in the formulas above)
    C: Float[Array, "time x n"]
    g: Float[Array, "time x"]
    H: Float[Array, "n n"]
    b: Float[Array, " n"]


class Reduced(eqx.Module):
    """The system with the states eliminated, and what gives them back."""

    matrix: Float[Array, "n n"]
    gradient: Float[Array, " n"]
    log_determinant: Scalar
    """Of A."""
    L: Float[Array, "time x x"]
    E: Float[Array, "time x x"]
    V: Float[Array, "time x m"]

    def states(self, step: Float[Array, " n"]) -> Float[Array, "time x"]:
        """`dx` for a given `dθ`: the backward pass."""
        right = -(self.V[..., -1] + self.V[..., :-1] @ step)

        def back(dx: Array, blocks: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            L, E, r = blocks
            dx = solve_triangular(L, (r - E @ dx)[:, None], transposed=True)[:, 0]
            return dx, dx

        return jax.lax.scan(back, jnp.zeros_like(right[0]), (self.L, self.E, right), reverse=True)[1]


def eliminate(system: Arrow) -> Reduced:
    """Eliminates the states; entries are NaN where A is not positive definite."""
    n = system.D.shape[1]
    right = jnp.concatenate([system.C, system.g[..., None]], axis=-1)
    beyond = jnp.concatenate([system.O.mT, jnp.zeros((1, n, n), system.D.dtype)])  # Oᵀ[k], right of D[k]

    def forward(carry: tuple[Array, Array], blocks: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        E, V = carry
        D, above, R = blocks
        L = cholesky(D - E.T @ E)
        EV = solve_triangular(L, jnp.concatenate([above, R - E.T @ V], axis=1))
        return (EV[:, :n], EV[:, n:]), jnp.concatenate([L, EV], axis=1)

    start = jnp.zeros_like(system.D[0]), jnp.zeros_like(right[0])
    rows = jax.lax.scan(forward, start, (system.D, beyond, right))[1]
    L, E, V = rows[..., :n], rows[..., n : 2 * n], rows[..., 2 * n :]
    product = jnp.einsum("kim,kin->mn", V[..., :-1], V)
    log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(L, axis1=1, axis2=2)))
    return Reduced(system.H - product[:, :-1], system.b - product[:, -1], log_determinant, L, E, V)
