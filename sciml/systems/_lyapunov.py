"""Lyapunov equations in discrete and continuous time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Scalar

from sciml.core import checked, RESULTS, Solution

from ._doubling import as_matrix, continuous_smith, is_finite, smith


class EquationStats(eqx.Module):
    """How a matrix equation was solved."""

    residual: Scalar
    """Frobenius norm of the residual, over that of the largest term."""
    doublings: Int[Array, ""]
    """Doublings until the powers of the matrix had vanished."""


def discrete_lyapunov(A: ArrayLike, Q: ArrayLike, *, throw: bool = True) -> Solution[Float[Array, "n n"]]:
    """The solution of `A X Aᵀ - X + Q = 0` for a stable `A`: `X = Σ_k A^k Q (Aᵀ)^k`.

    `X` is the covariance to which `x[k+1] = A x[k] + w[k]` settles if `w` has the covariance `Q`. With `A.T` in the
    place of `A`, `xᵀ X x` is the sum of `x[k]ᵀ Q x[k]` over a run from `x`.

    Args:
        A: matrix `(n, n)` with all eigenvalues inside the unit circle.
        Q: matrix `(n, n)`; it need not be symmetric.
        throw: whether a failure raises; if not, it is the `result`.

    Returns:
        `X` as `value`, finite in any case; `stats` is an `EquationStats`. After a failure `X` is zero.

    Raises:
        ValueError: shapes that do not fit.
        RuntimeError: with `throw`, `RESULTS.unstable` if `A` is not stable.

    Gradient: that of the solution, in both modes and repeated, by a second equation with the same matrix or its
    transpose; zero after a failure.

    Source: Smith (1968), Matrix equation XA + BX = C, doi:10.1137/0116017, with one step of refinement. It takes
    `log2` of as many doublings as the powers of `A` need to vanish; SciPy's `solve_discrete_lyapunov` solves n²
    linear equations.

    Examples:
        ```python
        X = sciml.systems.discrete_lyapunov(jnp.array([[0.5]]), jnp.array([[3.0]])).value
        assert jnp.isclose(X[0, 0], 4.0)  # 3 / (1 - 0.5**2)
        ```
    """
    A = as_matrix(A, "A", (None, None), "a square matrix, (n, n)")
    A, Q = _pair(A, Q)
    return _checked(_discrete_lyapunov(A, Q), throw)


def continuous_lyapunov(A: ArrayLike, Q: ArrayLike, *, throw: bool = True) -> Solution[Float[Array, "n n"]]:
    """The solution of `A X + X Aᵀ + Q = 0` for a stable `A`: `X = ∫ exp(A t) Q exp(Aᵀ t) dt`.

    `X` is the covariance to which `dx/dt = A x + w` settles under white noise `w` of intensity `Q`. With `A.T` in the
    place of `A`, `xᵀ X x` is the integral of `x(t)ᵀ Q x(t)` along a run from `x`. SciPy's `solve_continuous_lyapunov`
    has the other sign of `Q`.

    Args:
        A: matrix `(n, n)` with all eigenvalues in the open left half-plane.
        Q: matrix `(n, n)`; it need not be symmetric.
        throw: whether a failure raises; if not, it is the `result`.

    Returns:
        `X` as `value`, finite in any case; `stats` is an `EquationStats`. After a failure `X` is zero.

    Raises:
        ValueError: shapes that do not fit.
        RuntimeError: with `throw`, `RESULTS.unstable` if `A` is not stable.

    Gradient: as for `discrete_lyapunov`.

    Source: Smith (1968), doi:10.1137/0116017: a Cayley transform to the equation in discrete time.

    Examples:
        ```python
        X = sciml.systems.continuous_lyapunov(jnp.array([[-0.5]]), jnp.array([[3.0]])).value
        assert jnp.isclose(X[0, 0], 3.0)  # 3 / (2 * 0.5)
        ```
    """
    A = as_matrix(A, "A", (None, None), "a square matrix, (n, n)")
    A, Q = _pair(A, Q)
    return _checked(_continuous_lyapunov(A, Q), throw)


def _pair(A: Array, Q: ArrayLike) -> tuple[Array, Array]:
    n = A.shape[1]
    as_matrix(A, "A", (n, n), "a square matrix, (n, n)")
    Q = as_matrix(Q, "Q", (n, n), f"({n}, {n}), the shape of `A`")
    dtype = jnp.result_type(A, Q)
    return A.astype(dtype), Q.astype(dtype)


def _checked(solution: Solution, throw: bool) -> Solution:
    cause = (
        "`A` is not stable, or is so only within rounding: the sum that is the solution does not converge. In discrete "
        "time its eigenvalues have to lie inside the unit circle, in continuous time in the open left half-plane."
    )
    return checked(solution, solution.result, {"unstable": cause}) if throw else solution


@eqx.filter_jit
def _discrete_lyapunov(A: Array, Q: Array) -> Solution:
    with jax.default_matmul_precision("highest"):
        A, Q = _sound(A, Q)
        X, (is_stable, doublings) = solve_discrete(A, Q)
        rest, term = A @ X @ A.T - X + Q, X
    return _solution(X, rest, term, is_stable, doublings)


@eqx.filter_jit
def _continuous_lyapunov(A: Array, Q: Array) -> Solution:
    with jax.default_matmul_precision("highest"):
        A, Q = _sound(A, Q)
        X, (is_stable, doublings) = solve_continuous(A, Q)
        term = A @ X
        rest = term + X @ A.T + Q
    return _solution(X, rest, term, is_stable, doublings)


def _sound(A: Array, Q: Array) -> tuple[Array, Array]:
    """The matrices, or where one is not finite others that fail without NaN, in derivatives too."""
    is_sound = is_finite(A, Q)
    return jnp.where(is_sound, A, 2 * jnp.eye(A.shape[0], dtype=A.dtype)), jnp.where(is_sound, Q, 0.0)


def _solution(X: Array, rest: Array, term: Array, is_stable: Array, doublings: Array) -> Solution:
    size = jnp.maximum(jnp.linalg.norm(term), jnp.finfo(X.dtype).tiny)
    residual = jnp.where(is_stable, jnp.linalg.norm(rest) / size, jnp.asarray(1.0, X.dtype))
    result = RESULTS.where(is_stable, RESULTS.successful, RESULTS.unstable)
    stats = jax.lax.stop_gradient(EquationStats(residual, doublings))
    return Solution(X, result, stats)


def solve_discrete(A: Array, Q: Array) -> tuple[Array, tuple[Array, Array]]:
    """`X` of `X - A X Aᵀ = Q`, or zero; whether `A` is stable; and the number of doublings."""
    return _solve(A, Q, lambda A, X: X - A @ X @ A.T, smith)


def solve_continuous(A: Array, Q: Array) -> tuple[Array, tuple[Array, Array]]:
    """`X` of `-A X - X Aᵀ = Q`, or zero; whether `A` is stable; and the number of doublings."""
    return _solve(A, Q, lambda A, X: -(A @ X) - X @ A.T, continuous_smith)


def _solve(A: Array, Q: Array, operator: Callable[[Array, Array], Array], sums: Any) -> tuple[Array, Any]:
    """A linear solve that JAX differentiates and transposes: the transposed operator is that of `Aᵀ`."""

    def refined(A: Array, right: Array) -> tuple[Array, tuple[Array, Array]]:
        X, is_stable, doublings = sums(A, right)
        change = sums(A, right - operator(A, X))[0]
        is_sound = is_stable & is_finite(X, change)
        return jnp.where(is_sound, X + change, 0.0), (is_sound, doublings)

    return jax.lax.custom_linear_solve(
        lambda X: operator(A, X),
        Q,
        solve=lambda _, right: refined(A, right),
        transpose_solve=lambda _, right: refined(A.T, right),
        has_aux=True,
    )
