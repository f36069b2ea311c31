"""Algebraic Riccati equations in discrete and continuous time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from sciml.core import checked, cholesky, explain, is_successful, RESULTS, Solution, solve_cholesky

from ._doubling import as_matrix, cayley_rate, continuous_smith, is_finite, sda, smith, solve, symmetric
from ._lyapunov import EquationStats, solve_continuous, solve_discrete


class Matrices(NamedTuple):
    """The matrices of a linear system and its quadratic cost `xᵀ Q x + uᵀ R u + 2 xᵀ S u`."""

    A: Float[Array, "n n"]
    B: Float[Array, "n m"]
    Q: Float[Array, "n n"]
    R: Float[Array, "m m"]
    S: Float[Array, "n m"]


def dare(
    A: ArrayLike, B: ArrayLike, Q: ArrayLike, R: ArrayLike, S: ArrayLike | None = None, *, throw: bool = True
) -> Solution[Float[Array, "n n"]]:
    """The stabilising solution `P` of the discrete algebraic Riccati equation.

        P = Aᵀ P A - (Aᵀ P B + S) K + Q,   K = (R + Bᵀ P B)⁻¹ (Bᵀ P A + Sᵀ),   with `A - B K` stable

    `xᵀ P x` is the least `Σ_k x[k]ᵀ Q x[k] + u[k]ᵀ R u[k] + 2 x[k]ᵀ S u[k]` of `x[k+1] = A x[k] + B u[k]` from `x`,
    with `u = -K x`; `policies.lqr` makes the policy. `dare(A.T, C.T, W, V)` is the covariance of a Kalman filter.

    Args:
        A, B: matrices `(n, n)` and `(n, m)`; every eigenvalue of `A` on or outside the unit circle can be moved by `u`.
        Q: weight `(n, n)`, of which the symmetric part counts; positive semidefinite, or such that a stabilising
            solution exists. Eigenvalues of `A` on the unit circle must be seen in it.
        R: weight `(m, m)`, positive definite; of it, too, the symmetric part counts.
        S: weight `(n, m)` of the product of state and input; zero if None.
        throw: whether a failure raises; if not, it is the `result`.

    Returns:
        `P` as `value`, symmetric, finite in any case; `stats` is an `EquationStats`. Where there is no stabilising
        solution `P` is zero.

    Raises:
        ValueError: shapes that do not fit.
        RuntimeError: with `throw`, one of `RESULTS.unstable` (no stabilising solution), `unbounded` (`R` is not
            positive definite) and `stalled` (rounding spoils the answer).

    Gradient: that of the solution, in both modes and repeated: the derivative of a Riccati equation is a Lyapunov
    equation of the closed loop. Zero after a failure.

    Source: Chu, Fan, Lin & Wang (2004), structure-preserving doubling, doi:10.1080/00207170410001714988; then steps of
    Newton after Hewer (1971), An iterative technique for the computation of the steady state gains for the discrete
    optimal regulator, IEEE TAC 16(4), doi:10.1109/TAC.1971.1099755. `Q` is first raised by `√eps`, so that unstable
    modes that it does not see are stabilised too; Newton's steps take that back. All of it runs on any device, unlike
    the ordered Schur form that SciPy's `solve_discrete_are` uses.

    Examples:
        ```python
        one = jnp.ones((1, 1))
        P = sciml.systems.dare(one, one, one, one).value
        assert jnp.isclose(P[0, 0], (1 + 5**0.5) / 2)  # P = P - P² / (1 + P) + 1: the golden ratio
        ```
    """
    data = check_equation(A, B, Q, R, S)
    return _checked(_dare(data), data, throw, is_discrete=True)


def care(
    A: ArrayLike, B: ArrayLike, Q: ArrayLike, R: ArrayLike, S: ArrayLike | None = None, *, throw: bool = True
) -> Solution[Float[Array, "n n"]]:
    """The stabilising solution `P` of the continuous algebraic Riccati equation.

        Aᵀ P + P A - (P B + S) K + Q = 0,   K = R⁻¹ (Bᵀ P + Sᵀ),   with `A - B K` stable

    `xᵀ P x` is the least integral of `xᵀ Q x + uᵀ R u + 2 xᵀ S u` along `dx/dt = A x + B u` from `x`, with `u = -K x`.

    Args:
        A, B: matrices `(n, n)` and `(n, m)`; every eigenvalue of `A` with a real part >= 0 can be moved by `u`.
        Q: as for `dare`; eigenvalues of `A` on the imaginary axis must be seen in it.
        R: as for `dare`.
        S: as for `dare`.
        throw: whether a failure raises; if not, it is the `result`.

    Returns:
        As `dare`.

    Raises:
        ValueError: shapes that do not fit.
        RuntimeError: as `dare`.

    Gradient: as for `dare`.

    Source: Chu, Fan & Lin (2005), A structure-preserving doubling algorithm for continuous-time algebraic Riccati
    equations, Linear Algebra and its Applications 396, 55-80, doi:10.1016/j.laa.2004.10.010: a Cayley transform, then
    doubling; then steps of Newton after Kleinman (1968), On an iterative technique for Riccati equation computations,
    IEEE TAC 13(1), doi:10.1109/TAC.1968.1098829.

    Examples:
        ```python
        mass = sciml.systems.zoo.double_integrator()
        P = sciml.systems.care(mass.A, mass.B, jnp.eye(2), jnp.eye(1)).value
        assert jnp.allclose(P, jnp.array([[3**0.5, 1.0], [1.0, 3**0.5]]), atol=1e-5)
        ```
    """
    data = check_equation(A, B, Q, R, S)
    return _checked(_care(data), data, throw, is_discrete=False)


def check_equation(A: ArrayLike, B: ArrayLike, Q: ArrayLike, R: ArrayLike, S: ArrayLike | None) -> Matrices:
    """The five matrices in one dtype, with weights made symmetric; raises where shapes do not fit."""
    A = as_matrix(A, "A", (None, None), "a square matrix, (n, n)")
    n = A.shape[1]
    as_matrix(A, "A", (n, n), "a square matrix, (n, n)")
    B = as_matrix(B, "B", (n, None), f"({n}, inputs), with the rows of `A`")
    m = B.shape[1]
    Q = as_matrix(Q, "Q", (n, n), f"({n}, {n}), the shape of `A`")
    R = as_matrix(R, "R", (m, m), f"({m}, {m}), one row for each column of `B`")
    S = jnp.zeros((n, m), A.dtype) if S is None else as_matrix(S, "S", (n, m), f"({n}, {m}), the shape of `B`")
    dtype = jnp.result_type(A, B, Q, R, S)
    A, B, Q, R, S = (matrix.astype(dtype) for matrix in (A, B, Q, R, S))
    return Matrices(A, B, symmetric(Q), symmetric(R), S)


def discrete_gain(data: Matrices, P: Float[Array, "n n"]) -> Float[Array, "m n"]:
    """`K = (R + Bᵀ P B)⁻¹ (Bᵀ P A + Sᵀ)`."""
    factor = cholesky(data.R + symmetric(data.B.T @ P @ data.B))
    return solve_cholesky(factor, data.B.T @ P @ data.A + data.S.T)


def continuous_gain(data: Matrices, P: Float[Array, "n n"]) -> Float[Array, "m n"]:
    """`K = R⁻¹ (Bᵀ P + Sᵀ)`."""
    return solve_cholesky(cholesky(data.R), data.B.T @ P + data.S.T)


@eqx.filter_jit
def _dare(data: Matrices) -> Solution:
    with jax.default_matmul_precision("highest"):
        return _solution(data, _discrete_start, _DISCRETE)


@eqx.filter_jit
def _care(data: Matrices) -> Solution:
    with jax.default_matmul_precision("highest"):
        return _solution(data, _continuous_start, _CONTINUOUS)


class _Kind(NamedTuple):
    """What differs between the equations in discrete and in continuous time."""

    gain: Callable[[Matrices, Array], Array]
    terms: Callable[[Array, Array], Array]
    """Of the closed loop and `P`: the terms of the equation without the weights."""
    slope: Callable[[Array, Array, Array], Array]
    """Of the closed loop, `P`, and the change of the loop: the change of the terms."""
    sums: Any
    """The Lyapunov equation, `X` of `terms(loop, X) + right = 0`, by the transposed loop."""
    lyapunov: Any
    """The same, differentiable."""


# The terms of the equation at a fixed gain. At the optimal gain its derivative by the gain vanishes.
_DISCRETE = _Kind(
    gain=discrete_gain,
    terms=lambda loop, P: loop.T @ P @ loop - P,
    slope=lambda loop, P, change: 2 * symmetric(loop.T @ P @ change),
    sums=smith,
    lyapunov=solve_discrete,
)
_CONTINUOUS = _Kind(
    gain=continuous_gain,
    terms=lambda loop, P: 2 * symmetric(P @ loop),
    slope=lambda loop, P, change: 2 * symmetric(P @ change),
    sums=continuous_smith,
    lyapunov=solve_continuous,
)


def _weighted(Q: Array, R: Array, S: Array, K: Array) -> Array:
    """`Q + Kᵀ R K - S K - Kᵀ Sᵀ`, the weight of the state under `u = -K x`."""
    return symmetric(Q + K.T @ R @ K - 2 * S @ K)


def _solution(data: Matrices, start: Any, kind: _Kind) -> Solution:
    fixed = jax.lax.stop_gradient(data)
    is_definite = is_finite(cholesky(fixed.R)) & is_finite(*fixed)
    # A weight of one in the place of what has no Cholesky factor keeps all that follows finite.
    fixed = fixed._replace(R=jnp.where(is_definite, fixed.R, jnp.eye(fixed.R.shape[0], dtype=fixed.R.dtype)))
    fixed = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0.0), fixed)
    P, doublings = start(fixed)
    P, is_stable, change = _newton(fixed, P, kind)
    exists = is_definite & is_stable & (change < 0.1)
    is_exact = change <= float(jnp.finfo(P.dtype).eps) ** 0.45
    P = jnp.where(exists, P, 0.0)
    K = jnp.where(exists, kind.gain(fixed, P), 0.0)
    residual = kind.terms(fixed.A - fixed.B @ K, P) + _weighted(fixed.Q, fixed.R, fixed.S, K)
    size = jnp.maximum(jnp.linalg.norm(_weighted(fixed.Q, fixed.R, fixed.S, K)), jnp.linalg.norm(P))
    size = jnp.maximum(size, jnp.finfo(P.dtype).tiny)
    stats = EquationStats(jnp.where(exists, jnp.linalg.norm(residual) / size, 1.0), doublings)
    result = RESULTS.where(is_exact, RESULTS.successful, RESULTS.stalled)
    result = RESULTS.where(exists, result, RESULTS.unstable)
    result = RESULTS.where(is_definite, result, RESULTS.unbounded)
    safe = jax.tree.map(lambda given, harmless: jnp.where(is_definite, given, harmless), data, fixed)
    return Solution(_attach(kind, P, exists, safe), result, stats)


# The derivative of `P` solves `terms(loop, dP) + slope(loop, P, dA - dB K) + weighted(dQ, dR, dS, K) = 0`. In it stands
# the `P` that carries its own derivative, so that the rule can be repeated.
@eqx.filter_custom_jvp
def _attach(kind: _Kind, P: Array, exists: Array, data: Matrices) -> Array:
    del kind, exists, data
    return P


@_attach.def_jvp
def _attach_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    kind, P, exists, data = primals
    zeros = jax.tree.map(jnp.zeros_like, data)
    d = jax.tree.map(lambda t, z: z if t is None else t, tangents[3], zeros, is_leaf=lambda t: t is None)
    P = _attach(kind, P, exists, data)
    K = jnp.where(exists, kind.gain(data, P), 0.0)
    loop = data.A - data.B @ K
    right = kind.slope(loop, P, d.A - d.B @ K) + _weighted(d.Q, d.R, d.S, K)
    change, _ = kind.lyapunov(loop.T, right)
    return P, jnp.where(exists, symmetric(change), 0.0)


def _newton(data: Matrices, P: Array, kind: _Kind) -> tuple[Array, Bool[Array, ""], Float[Array, ""]]:
    """Newton's steps from a `P` with a stable closed loop; whether the last loop was stable; the last relative change.

    They end at rounding, where a step is not half as long as the one before it. Without a stabilising solution they
    halve at best.
    """
    eps = float(jnp.finfo(P.dtype).eps)

    def goes_on(carry: Any) -> Array:
        j, _, is_stable, change, before = carry
        return is_stable & (j < 12) & (change > eps) & ((j < 2) | (change < 0.4 * before))

    def step(carry: Any) -> Any:
        j, P, _, before, _ = carry
        K = kind.gain(data, P)
        loop = data.A - data.B @ K
        right = kind.terms(loop, P) + _weighted(data.Q, data.R, data.S, K)
        change, is_stable, _ = kind.sums(loop.T, right)
        P_next = symmetric(P + change)
        is_sound = is_stable & is_finite(P_next)
        size = jnp.linalg.norm(change) / jnp.maximum(jnp.linalg.norm(P_next), jnp.finfo(P.dtype).tiny)
        return j + 1, jnp.where(is_sound, P_next, P), is_sound, jnp.where(is_sound, size, 1.0), before

    one = jnp.ones((), P.dtype)
    _, P, is_stable, change, _ = jax.lax.while_loop(
        goes_on, step, (jnp.zeros((), jnp.int32), P, is_finite(P), one, one)
    )
    return P, is_stable, change


def _without_product(data: Matrices) -> tuple[Array, Array, Array]:
    """`A - B R⁻¹ Sᵀ`, `B R⁻¹ Bᵀ` and `Q - S R⁻¹ Sᵀ`: the system and weights in `v = u + R⁻¹ Sᵀ x`."""
    n = data.A.shape[0]
    inner = solve_cholesky(cholesky(data.R), jnp.concatenate([data.B, data.S]).T)
    return (
        data.A - data.B @ inner[:, n:],
        symmetric(data.B @ inner[:, :n]),
        symmetric(data.Q - data.S @ inner[:, n:]),
    )


def _raised(Q: Array, G: Array, rate: Array) -> Array:
    """`Q` with `√eps` of the size of weights, `max(‖Q‖, rate² / ‖G‖)`, on the diagonal."""
    tiny = jnp.finfo(Q.dtype).tiny ** 0.25
    g = jnp.linalg.norm(G)
    size = jnp.maximum(jnp.linalg.norm(Q), jnp.where(g > tiny, rate**2 / jnp.maximum(g, tiny), 0.0))
    return Q + float(jnp.finfo(Q.dtype).eps) ** 0.5 * size * jnp.eye(Q.shape[0], dtype=Q.dtype)


def _discrete_start(data: Matrices) -> tuple[Array, Int[Array, ""]]:
    """The solution for a slightly raised `Q`, by doubling."""
    A, G, Q = _without_product(data)
    P, _, doublings = sda(A, G, _raised(Q, G, jnp.ones((), A.dtype)))
    return P, doublings


def _continuous_start(data: Matrices) -> tuple[Array, Int[Array, ""]]:
    """The same, after a Cayley transform with a rate `γ` above the modulus of all eigenvalues.

        [A - γI    -G     ]⁻¹ [A + γI    -G     ]   [ A₀  G₀ ]
        [ -Q    -(A - γI)ᵀ]   [ -Q    -(A + γI)ᵀ] = [-H₀  A₀ᵀ]

    where the columns of both matrices come from `M - γI` and `M + γI`, with `M` the Hamiltonian matrix.
    """
    A, G, Q = _without_product(data)
    Q = _raised(Q, G, jnp.linalg.norm(A))
    tiny, eye, n = jnp.finfo(A.dtype).tiny ** 0.25, jnp.eye(A.shape[0], dtype=A.dtype), A.shape[0]
    q, g = jnp.maximum(jnp.linalg.norm(Q), tiny), jnp.maximum(jnp.linalg.norm(G), tiny)
    scale = jnp.sqrt(q / g)  # P / scale solves the equation of G scale and Q / scale, which are of one size
    G, Q = G * scale, Q / scale
    rate = cayley_rate(A) + jnp.linalg.norm(Q)
    below, above = A - rate * eye, A + rate * eye
    both = solve(jnp.block([[below, -G], [-Q, -below.T]]), jnp.block([[above, -G], [-Q, -above.T]]))
    H, _, doublings = sda(both[:n, :n], symmetric(both[:n, n:]), -symmetric(both[n:, :n]))
    return scale * H, doublings


def _checked(solution: Solution, data: Matrices, throw: bool, *, is_discrete: bool) -> Solution:
    if not throw:
        return solution
    more = "give every input a weight > 0, and finite numbers to all matrices"
    causes = {
        "unbounded": explain("R", "a matrix that is not positive definite", "a positive definite weight", more),
        "stalled": (
            "The solution of the Riccati equation is not accurate to half the digits of its dtype. Give states and "
            "inputs units in which they are of size one, and every mode on the limit of stability a weight in `Q`; "
            "use float64."
        ),
    }
    if is_known_failure(solution.result, data.A, data.B):
        causes |= explain_modes(data.A, data.B, is_discrete=is_discrete)
    return checked(solution, solution.result, causes)


def is_known_failure(result: RESULTS, *arrays: Array) -> bool:
    """Whether this is a failure outside of `jit` and `vmap`, whose matrices one can look at."""
    is_known = not any(isinstance(a, Tracer) for a in (result._value, *arrays))
    return is_known and not bool(is_successful(result))


def explain_modes(A: Array, B: Array, *, is_discrete: bool, argument: str = "B") -> dict[str, str]:
    """The text of `RESULTS.unstable` with the modes that no input moves, on the host; empty if there are none.

    By the test of Popov, Belevitch and Hautus: the rank of `[A - λI, B]` at every eigenvalue `λ` that does not decay.
    """
    a, b = np.asarray(A, float), np.asarray(B, float)
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        return {"unstable": explain(argument, "entries that are not finite", "finite matrices", "look for NaN in them")}
    modes = np.linalg.eigvals(a)
    decays = np.abs(modes) < 1 if is_discrete else modes.real < 0
    size = max(float(np.max(np.abs(a))), float(np.max(np.abs(b), initial=0.0)), np.finfo(float).tiny)
    pencils = [np.hstack([a - s * np.eye(len(a)), b]) / size for s in modes]
    least = [np.linalg.svd(pencil, compute_uv=False)[-1] for pencil in pencils]
    # Eigenvalues of defective matrices are known to a root of rounding only.
    stuck = modes[~decays & (np.asarray(least) < float(jnp.finfo(A.dtype).eps) ** 0.5)]
    if not stuck.size:
        return {}
    shown = ", ".join(f"{s.real:.3g}" if abs(s.imag) < 1e-12 else f"{s:.3g}" for s in stuck[:3])
    got = f"modes of `A` that do not decay and that no input moves: {shown}"
    fix = "add an input that acts on them, or leave these states out of the model"
    return {"unstable": explain(argument, got, "a pair (A, B) that a feedback can stabilise", fix)}
