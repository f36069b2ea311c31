"""Doubling: what Lyapunov and Riccati equations stand on. All loops end, and what they return is finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sciml.core import invalid, one_at_a_time

from ._parameters import parameter

solve = one_at_a_time(jnp.linalg.solve)


def symmetric(matrix: Array) -> Array:
    """The symmetric part."""
    return 0.5 * (matrix + matrix.mT)


def is_finite(*arrays: Array) -> Bool[Array, ""]:
    """Whether every entry is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in arrays]))


def most_doublings(dtype: Any) -> int:
    """Doublings after which powers of any matrix that is stable beyond rounding have vanished.

    A spectral radius of `1 - eps` needs `log2(-log(eps) / eps)`: 58 in float64, 28 in float32.
    """
    eps = float(jnp.finfo(dtype).eps)
    return int(np.log2(-np.log(eps) / eps))


def smith(
    A: Float[Array, "n n"], Q: Float[Array, "n n"]
) -> tuple[Float[Array, "n n"], Bool[Array, ""], Int[Array, ""]]:
    """`X = Σ_k A^k Q (Aᵀ)^k`, which solves `X = A X Aᵀ + Q`; whether `A` is stable; and the number of doublings.

        X ← X + A X Aᵀ,   A ← A²

    For a matrix that is not stable, `X` is the last finite sum.

    Source: Smith (1968), Matrix equation XA + BX = C, SIAM Journal on Applied Mathematics 16(1), 198-201,
    doi:10.1137/0116017.
    """
    most, small = most_doublings(A.dtype), 0.1 * float(jnp.finfo(A.dtype).eps) ** 0.5

    def goes_on(carry: Any) -> Array:
        k, is_sound, a, _ = carry
        # The rest of the sum is a X aᵀ: below rounding once ‖a‖² is.
        return is_sound & (k < most) & (jnp.linalg.norm(a) > small)

    def double(carry: Any) -> Any:
        k, _, a, X = carry
        a_next, X_next = a @ a, X + a @ X @ a.T
        is_sound = is_finite(a_next, X_next)
        return k + 1, is_sound, jnp.where(is_sound, a_next, a), jnp.where(is_sound, X_next, X)

    k, is_sound, a, X = jax.lax.while_loop(goes_on, double, (jnp.zeros((), jnp.int32), is_finite(A, Q), A, Q))
    return X, is_sound & (jnp.linalg.norm(a) <= small), k


def sda(
    A: Float[Array, "n n"], G: Float[Array, "n n"], H: Float[Array, "n n"]
) -> tuple[Float[Array, "n n"], Bool[Array, ""], Int[Array, ""]]:
    """The limit `H` of the structure-preserving doubling algorithm, whether it converged, and the number of doublings.

        A ← A (I + G H)⁻¹ A,   G ← G + A (I + G H)⁻¹ G Aᵀ,   H ← H + Aᵀ H (I + G H)⁻¹ A

    solves `X = Aᵀ X (I + G X)⁻¹ A + H` by `X = H∞`. If it does not converge, `H` is the last finite iterate.

    Source: Chu, Fan, Lin & Wang (2004), Structure-preserving algorithms for periodic discrete-time algebraic Riccati
    equations, International Journal of Control 77(8), doi:10.1080/00207170410001714988.
    """
    eye, n = jnp.eye(A.shape[0], dtype=A.dtype), A.shape[0]
    most, small = most_doublings(A.dtype), 0.1 * float(jnp.finfo(A.dtype).eps) ** 0.5

    def goes_on(carry: Any) -> Array:
        k, is_sound, (a, _, _) = carry
        return is_sound & (k < most) & (jnp.linalg.norm(a) > small)

    def double(carry: Any) -> Any:
        k, _, (a, g, h) = carry
        inner = solve(eye + g @ h, jnp.concatenate([a, g], axis=1))  # (I + G H)⁻¹ [A, G]
        after = (a @ inner[:, :n], symmetric(g + a @ inner[:, n:] @ a.T), symmetric(h + a.T @ h @ inner[:, :n]))
        is_sound = is_finite(*after)
        return k + 1, is_sound, jax.tree.map(lambda new, old: jnp.where(is_sound, new, old), after, (a, g, h))

    start = (jnp.zeros((), jnp.int32), is_finite(A, G, H), (A, G, H))
    k, is_sound, (a, _, h) = jax.lax.while_loop(goes_on, double, start)
    return h, is_sound & (jnp.linalg.norm(a) <= small), k


def cayley_rate(A: Float[Array, "n n"]) -> Float[Array, ""]:
    """A rate `γ` larger than the modulus of every eigenvalue of `A`, so that `A - γI` has an inverse."""
    return jnp.maximum(1.5 * jnp.linalg.norm(A), jnp.finfo(A.dtype).tiny ** 0.25)


def continuous_smith(
    A: Float[Array, "n n"], Q: Float[Array, "n n"]
) -> tuple[Float[Array, "n n"], Bool[Array, ""], Int[Array, ""]]:
    """As `smith`, for `A X + X Aᵀ + Q = 0`: the same by `M = (A - γI)⁻¹`, `X = M (A + γI) X (A + γI)ᵀ Mᵀ + 2γ M Q Mᵀ`.

    Source: Smith (1968), as for `smith`.
    """
    rate, eye = cayley_rate(A), jnp.eye(A.shape[0], dtype=A.dtype)
    M = solve(A - rate * eye, eye)
    return smith(eye + 2 * rate * M, 2 * rate * M @ Q @ M.T)  # M (A + γI) = I + 2γ M


def as_matrix(value: Any, argument: str, shape: tuple[int | None, int | None], like: str) -> Array:
    """`value` as a matrix of floats, checked against a shape (None: any size)."""
    matrix = parameter(value)
    fits = matrix.ndim == 2 and all(want in (None, got) for want, got in zip(shape, matrix.shape, strict=True))
    if not fits:
        raise invalid(argument, f"shape {matrix.shape}", like, "give a matrix with one row and column for each entry")
    return matrix
