"""Linear models of observables in closed form: dynamic mode decomposition and its extensions, with residuals."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from ..core import invalid, RESULTS, Solution
from ..sources import Record
from ..systems import LinearDiscrete
from ..systems.models import AbstractLibrary, Lifted, Polynomial, Started


class KoopmanStats(eqx.Module):
    """The spectrum of a fitted model, sorted by residual."""

    eigenvalues: Complex[Array, " term"]
    """Of the matrix of one sampling interval; `log(λ) / dt` is the rate in continuous time."""
    residuals: Float[Array, " term"]
    """`‖φ(x⁺) - λ φ(x)‖ / ‖φ(x)‖` over the data, for each eigenvalue λ and its eigenfunction φ: small where the pair is
    real, near one where truncating the observables made it up."""
    eigenfunctions: Complex[Array, "term term"]
    """Column j has the coefficients of eigenfunction j: `φ(x) = ψ(x)ᵀ g`."""
    modes: Complex[Array, "output term"]
    """Column j is the mode of eigenfunction j: `y = Σ modes[:, j] φ_j(x)`."""
    pairs: Int[Array, ""]
    """Pairs of consecutive samples that were used."""


def dmd(data: Record, *, rank: int | None = None) -> Solution:
    """`y⁺ = A y (+ B u)` by least squares over all pairs of samples: dynamic mode decomposition (with control).

    Choose it for records of all states near one operating point, and for modes and frequencies of many channels. It is
    `edmd` with the outputs themselves as observables.

    Args:
        data: one record or several, evenly sampled; with inputs it is DMDc.
        rank: singular values of the data that are kept; None for all above rounding.

    Returns:
        `Solution`: as of `edmd`.

    Raises:
        ValueError: as `edmd`.

    Examples:
        ```python
        decay = sciml.sources.record(0.5 ** jnp.arange(6.0), dt=1.0)
        found = sciml.training.dmd(decay)
        assert abs(found.value.system.A[0, 0] - 0.5) < 1e-4 and found.stats.residuals[0] < 1e-4
        ```

    Source: Tu, Rowley, Luchtenburg, Brunton and Kutz (2014), On dynamic mode decomposition: theory and applications, J.
    Comput. Dyn. 1(2), definition 1, doi:10.3934/jcd.2014.1.391; with inputs Proctor, Brunton and Kutz (2016), SIAM J.
    Appl. Dyn. Syst. 15(1), section 3.3, doi:10.1137/15M1013857.
    """
    return edmd(Polynomial(1, lowest=1, with_inputs=False), data, rank=rank)


def edmd(library: AbstractLibrary, data: Record, *, rank: int | None = None) -> Solution:
    """`z⁺ = A z (+ B u)`, `y = C z` for observables `z = ψ(y)`, by least squares: extended DMD, with input as in DMDc.

    Choose it where a nonlinear system is to be predicted or controlled by a linear model. The residuals in the
    statistics tell which eigenvalues to believe.

    Args:
        library: the observables, functions of the outputs; with the outputs among them `C` only picks them. Inputs
            enter linearly, beside the observables.
        data: one record or several whose outputs are the states, evenly sampled. Pairs with a missing sample are left
            out.
        rank: singular values of the matrix of observables (and inputs) that are kept; None for all above rounding.

    Returns:
        `Solution`: `value` is `systems.models.Started(LinearDiscrete, Lifted(library))`: `simulation.free_run` and all
        losses of records take it; `stats` is `KoopmanStats`; `RESULTS.diverged` if observables are not finite (the
        matrices are zero then).

    Raises:
        ValueError: uneven sampling, fewer pairs of samples than unknowns in a row of `[A, B]`, `rank < 1`.

    Gradient: none.

    Examples:
        ```python
        from sciml.systems.models import Functions

        x = jnp.array([[0.9**k, 0.5**k + 0.81**k] for k in range(20)])  # x1 - x0² decays by 0.5, x0² by 0.81
        library = Functions(lambda x, u: jnp.stack([x[0], x[1], x[0] ** 2]), ["x0", "x1", "x0²"])
        found = sciml.training.edmd(library, sciml.sources.record(x, dt=1.0))
        assert jnp.allclose(jnp.sort(found.stats.eigenvalues.real), jnp.array([0.5, 0.81, 0.9]), atol=1e-3)
        ```

    Source: Williams, Kevrekidis and Rowley (2015), A data-driven approximation of the Koopman operator, J. Nonlinear
    Sci. 25, doi:10.1007/s00332-015-9258-5; inputs: Korda and Mezić (2018), Automatica 93,
    doi:10.1016/j.automatica.2018.03.046; residuals: Colbrook and Townsend (2024), Rigorous data-driven computation of
    spectral properties of Koopman operators for dynamical systems, Comm. Pure Appl. Math. 77(1),
    doi:10.1002/cpa.22125.
    """
    if rank is not None and rank < 1:
        raise invalid("rank", rank, "an integer >= 1, or None", "leave it out to keep all that is above rounding")
    now, after, u, dt = _pairs(data)
    lift = jax.jit(jax.vmap(lambda y: library(y, None)))
    Z, Zp = np.asarray(lift(now)), np.asarray(lift(after))
    W = np.concatenate([Z, u], axis=1)
    if W.shape[0] < W.shape[1]:
        got = f"{W.shape[0]} pairs of samples for {W.shape[1]} observables and inputs"
        raise invalid("data", got, "at least as many pairs", "record for longer, or take fewer observables")
    is_sound = bool(np.all(np.isfinite(Z)) and np.all(np.isfinite(Zp)))
    if not is_sound:
        Z, Zp, W = (np.zeros_like(a) for a in (Z, Zp, W))
    solve = _least_squares(W, rank)
    M = solve(Zp)
    K, B = M[: Z.shape[1]], M[Z.shape[1] :]
    C = _least_squares(Z, rank)(np.asarray(now) if is_sound else np.zeros_like(now))
    system = LinearDiscrete(jnp.asarray(K.T), jnp.asarray(B.T), jnp.asarray(C.T), dt=dt)
    stats = _spectrum(K, C, Z, Zp - u @ B)
    result = RESULTS.where(jnp.asarray(is_sound), RESULTS.successful, RESULTS.diverged)
    return Solution(Started(system, Lifted(library)), result, stats)


def _spectrum(K: np.ndarray, C: np.ndarray, Z: np.ndarray, Zp: np.ndarray) -> KoopmanStats:
    """Eigenpairs `K g = λ g` with residuals `‖(Z⁺ - λ Z) g‖ / ‖Z g‖`, from the data and not from its products, whose
    rounding would hide residuals below √ε.
    """
    values, g = np.linalg.eig(K)
    size = np.linalg.norm(Z @ g, axis=0)
    g = g / np.where(size > 0, size, 1)
    residuals = np.linalg.norm(Zp @ g - (Z @ g) * values, axis=0)
    residuals = np.where(size > 0, residuals, np.inf)
    order = np.argsort(residuals, kind="stable")
    values, g, residuals = values[order], g[:, order], residuals[order]
    # z = Σ_j φ_j(x) w_j with the rows w_j of G⁻¹, and y = Cᵀ z.
    modes = (np.linalg.pinv(g) @ C).T
    complex_ = np.result_type(Z.dtype, np.complex64)
    as_complex = lambda a: jnp.asarray(np.asarray(a, complex_))
    pairs = jnp.asarray(Z.shape[0])
    return KoopmanStats(as_complex(values), jnp.asarray(residuals), as_complex(g), as_complex(modes), pairs)


def _least_squares(A: np.ndarray, rank: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """`b -> A⁺ b`, with the given number of singular values."""
    left, values, right = np.linalg.svd(A, full_matrices=False)
    floor = max(A.shape) * np.finfo(A.dtype).eps * values[0]
    kept = int(np.sum(values > floor))
    kept = kept if rank is None else min(rank, kept)
    return lambda b: (right[:kept].T / values[:kept]) @ (left[:, :kept].T @ b)


def _pairs(data: Record) -> tuple[Any, Any, np.ndarray, float]:
    """Consecutive samples that are measured in all channels, inputs between them (or no columns), and the interval."""
    flat = lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[data.t.ndim :])
    t, y = flat(data.t), flat(data.y)
    is_whole = np.all(flat(data.is_measured), axis=1) & flat(data.is_sample)
    number = np.arange(t.size) // data.t.shape[-1]
    is_sample = flat(data.is_sample)
    gaps = np.diff(t)[is_sample[1:] & (number[1:] == number[:-1])]
    if not gaps.size:
        raise invalid("data", "records of one sample", "at least two samples in a record", "record for longer")
    dt = float(np.median(gaps))
    if np.max(np.abs(gaps - dt)) > 1e-3 * dt:
        got = f"intervals from {gaps.min():.6g} to {gaps.max():.6g}"
        raise invalid("data", got, "even sampling", "resample the records, or identify a continuous model")
    k = np.flatnonzero(is_whole[:-1] & is_whole[1:] & (number[1:] == number[:-1]))
    u = np.zeros((t.size, 0), y.dtype) if data.u is None else flat(data.u)
    return jnp.asarray(y[k]), jnp.asarray(y[k + 1]), u[k], dt
