"""Linear state-space models from records in closed form, with the observer that starts them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ..core import invalid
from ..sources import Record, unstack
from ..systems import LinearDiscrete
from ..systems.models import Encoder, Started

_MODULUS = 0.9995  # least, of eigenvalues that noise put outside of the unit circle
_SLOWEST = 1 - 1e-6  # most, of the same: what was an integrator has a time constant of a million samples
_EXCITED = 1e-8  # of the largest: a smaller singular value of the inputs is rounding
_WINDOWS = 20_000  # most windows in the projection


class SubspaceStats(eqx.Module):
    """What a subspace fit found."""

    singular_values: Float[Array, " lag"]
    """Of the projection: a gap after the `n`-th one recommends order `n`."""
    excited: int
    """Directions of the inputs in `lag` samples that the records move, of `lag * inputs`; none need be missing for a
    good fit, but what the inputs do not do the model cannot know."""
    clipped: int
    """Eigenvalues on or outside of the unit circle, that were moved inside."""


def subspace(
    data: Record, order: int, *, lag: int | None = None, has_feedthrough: bool = False
) -> tuple[Started, SubspaceStats]:
    """A linear model `x⁺ = A x + B u`, `y = C x + D u` of the given order, with the observer for its initial state.

    Choose it first for every record: it needs no start and no iterations, and `models.StateSpace(..., linear=...)`
    begins where it ends. `A` and `C` come from the projection of future outputs on the past (PO-MOESP), `B`, `D` and
    the initial states from the least-squares fit of the simulated outputs. Samples must lie evenly in time. Not for use
    inside `jit`.

    Args:
        data: one record, or several of any lengths, scaled (`sources.scale_records`); with or without inputs.
            Windows with a missing sample are left out of the projection.
        order: number of states, >= 1.
        lag: past and future samples of the projection, and the samples that the observer looks at; None for
            `max(2 order, 10)`, or less for short records and many channels. More than `order / outputs`.
        has_feedthrough: whether an input acts on the output of the same sample.

    Returns:
        `Started(LinearDiscrete, Encoder)`: the encoder is the least-squares observer of the linear model. And
        statistics.

    Raises:
        ValueError: an order that the record is too short for, uneven samples, fewer complete windows than past and
            future samples of all channels in one; inputs that depend on each other, or that excite fewer than
            `order + 1` directions (a constant, a single sine for order 2).

    Examples:
        ```python
        from sciml.simulation import free_run, replay

        plant = sciml.systems.LinearDiscrete(A=jnp.array([[0.8]]), B=jnp.array([[0.5]]), dt=0.1)
        u = sciml.sources.signals.steps(jax.random.key(0), 100, -1.0, 1.0, every=5)
        blank = sciml.sources.record(y=0 * u, u=u, dt=0.1)
        data = sciml.sources.record(y=replay(plant, jnp.zeros(1), blank).y, u=u, dt=0.1)
        model, stats = sciml.training.subspace(data, order=1)
        assert jnp.allclose(free_run(model, data).y, data.y[model.start.lag :], atol=1e-3)
        ```

    Source: Verhaegen & Dewilde (1992), Subspace model identification, part 2, DOI 10.1080/00207179208934364; Van
    Overschee & De Moor (1996), Subspace identification for linear systems, section 4.4.2 for `B`, `D` and `x0`, DOI
    10.1007/978-1-4613-0465-4.
    """
    if order < 1:
        raise invalid("order", order, "an integer >= 1", "try a few, and pick by the free run on a validation part")
    records = unstack(data)
    dt = _sampling_time(records)
    outputs, inputs = data.y.shape[-1], 0 if data.u is None else data.u.shape[-1]
    longest = max(one.t.shape[0] for one in records)
    lag = _default_lag(records, order, inputs + outputs) if lag is None else lag
    if lag * outputs <= order or 2 * lag >= longest:
        got = f"order {order} with lag {lag}, for records of at most {longest} samples"
        raise invalid(
            "order", got, "order < lag * outputs, and 2 lag < samples", "lower the order, or take longer records"
        )
    past, future = _windows(records, lag)
    A, C, singular, excited = _dynamics(past, future, order, outputs, lag)
    A, clipped = _inside(A)
    B, D = _inputs(records, A, C, has_feedthrough) if inputs else (np.zeros((order, 0)), np.zeros((outputs, 0)))
    # Scale the states to deviations of order one.
    size = _state_size(records, A, B, C)
    A, B, C = A * size[None, :] / size[:, None], B / size[:, None], C * size[None, :]
    system = LinearDiscrete(A, B, C, D, dt=dt)
    encoder = initial_state_encoder(system, lag)
    return Started(system, encoder), SubspaceStats(jnp.asarray(singular), excited, clipped)


def initial_state_encoder(system: Any, lag: int, *, width: int = 0, key: Any = None) -> Encoder:
    """The encoder that gives a linear model the state which fits the first `lag` outputs best, at sample `lag`.

    From `Y = Γ x[0] + H U`, `x[0] = Γ⁺ (Y - H U)`, and `x[lag] = A^lag x[0] + Δ U`; `Γ⁺` is damped, so that a state
    that is hardly observed stays small.

    Args:
        system: a linear system in discrete time, or anything with `A`, `B`, `C`, `D`.
        lag: samples to look at; with `lag * outputs` above the number of states.
        width: hidden width of a network beside the linear map, zero at first; 0 for none.
        key: of that network.

    Raises:
        ValueError: `lag < 1`.
    """
    A, B, C, D = (np.asarray(part, float) for part in (system.A, system.B, system.C, system.D))
    (n, m), p = B.shape, C.shape[0]
    powers = [np.eye(n)]
    for _ in range(lag):
        powers.append(powers[-1] @ A)
    gamma = np.concatenate([C @ powers[k] for k in range(lag)])
    H, delta = np.zeros((lag * p, lag * m)), np.zeros((n, lag * m))
    for j in range(lag):
        delta[:, j * m : (j + 1) * m] = powers[lag - 1 - j] @ B
        H[j * p : (j + 1) * p, j * m : (j + 1) * m] = D
        for k in range(j + 1, lag):
            H[k * p : (k + 1) * p, j * m : (j + 1) * m] = C @ powers[k - 1 - j] @ B
    damping = 1e-6 * max(np.linalg.norm(gamma, 2) ** 2, 1e-12)
    inverse = np.linalg.solve(gamma.T @ gamma + damping * np.eye(n), gamma.T)
    to_end = powers[lag] @ inverse
    W = np.concatenate([to_end, delta - to_end @ H], axis=1)
    blank = Encoder(n, m, p, lag=lag, width=width, key=jr.key(0) if key is None else key)
    return eqx.tree_at(lambda e: e.W, blank, jnp.asarray(W, blank.W.dtype))


def _sampling_time(records: list[Record]) -> float:
    gaps = np.concatenate([np.diff(np.asarray(one.t)) for one in records])
    dt = float(np.median(gaps))
    if np.max(np.abs(gaps - dt)) > 1e-3 * dt:
        got = f"intervals between {gaps.min():.6g} and {gaps.max():.6g}"
        fix = "resample the record, or fit a continuous model, which takes any times"
        raise invalid("data", got, "samples that lie evenly in time", fix)
    return dt


def _default_lag(records: list[Record], order: int, channels: int) -> int:
    """As documented, and no more than the records have windows for."""
    lengths = np.array([one.t.shape[0] for one in records])
    lag = min(max(2 * order, 10), int(np.max(lengths)) // 4)
    while lag > 1 and np.sum(np.maximum(lengths - 2 * lag + 1, 0)) < 2 * lag * channels:
        lag -= 1
    return lag


def _windows(records: list[Record], lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Past inputs and outputs, and future inputs and outputs, one column for each complete window."""
    past, future = [], []
    for one in records:
        signals = np.asarray(one.y if one.u is None else jnp.concatenate([one.u, one.y], axis=1))
        complete = np.all(np.asarray(one.is_measured), axis=1)
        count = signals.shape[0] - 2 * lag + 1
        index = np.arange(max(count, 0))[:, None] + np.arange(2 * lag)
        index = index[np.all(complete[index], axis=1)]
        if not len(index):
            continue
        cut = signals[index]
        past.append(cut[:, :lag].reshape(len(index), -1))
        m = 0 if one.u is None else one.u.shape[1]
        future.append(
            np.concatenate([cut[:, lag:, :m].reshape(len(index), -1), cut[:, lag:, m:].reshape(len(index), -1)], 1)
        )
    total = sum(map(len, past))
    if total < 2:
        fix = "take a smaller order or lag, or fill short gaps"
        raise invalid("data", f"{total} windows of {2 * lag} samples without a gap", "many", fix)
    stride = max(1, total // _WINDOWS)
    return np.concatenate(past)[::stride].T, np.concatenate(future)[::stride].T


def _dynamics(
    past: np.ndarray, future: np.ndarray, order: int, outputs: int, lag: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """`A` and `C` from the column space of the projection, `[U_f; Z_p; Y_f] = L Q`, `L32 = Γ S Vᵀ`; its singular
    values, and the rank of `U_f`.
    """
    m = future.shape[0] - lag * outputs
    everything = np.concatenate([future[:m], past, future[m:]])
    if everything.shape[1] < everything.shape[0]:
        # With fewer windows nothing is left of the outputs after the projection but rounding.
        got = f"{everything.shape[1]} windows of {2 * lag} samples"
        expected = f"at least {everything.shape[0]}: 2 lag (inputs + outputs)"
        raise invalid("data", got, expected, "take a smaller lag, or a longer record")
    excited = _excited(future[:m], m // lag, order)
    L = np.asarray(np.linalg.qr(everything.T, mode="r")).T
    a, b = m, m + past.shape[0]
    U, s, _ = np.linalg.svd(L[b:, a:b], full_matrices=False)
    gamma = U[:, :order] * np.sqrt(s[:order])
    C = gamma[:outputs]
    A = np.linalg.lstsq(gamma[:-outputs], gamma[outputs:], rcond=None)[0]
    return A, C, s[:lag], excited


def _excited(future: np.ndarray, inputs: int, order: int) -> int:
    """How many directions of its input the records move.

    Raises where they are too few for `A x + B u` of this order: then other models fit as well as the true one.
    """
    if not inputs:
        return 0
    size = np.linalg.norm(future, axis=1, keepdims=True)
    scaled = future / np.where(size > 0, size, 1)
    rank = lambda rows: int(np.linalg.matrix_rank(rows, tol=_EXCITED * np.linalg.norm(rows, 2)))
    together, found = rank(scaled[:inputs]), rank(scaled)
    if together < inputs:
        fix = "leave out inputs that are zero, or sums or multiples of the others"
        raise invalid("data", f"{inputs} inputs of which {together} are independent", "inputs that all differ", fix)
    needed = min(order + 1, len(future) // inputs) * inputs
    if found < needed:
        got, expected = f"inputs that excite {found} of {len(future)} directions", f"at least {needed}"
        raise invalid("data", got, f"{expected}, order + 1 for each", "excite the system by steps or noise")
    return found


def _inside(A: np.ndarray) -> tuple[np.ndarray, int]:
    """`A` with eigenvalues outside of the unit circle moved inside: reflected, but not farther than `_MODULUS`."""
    values, vectors = np.linalg.eig(A)
    size = np.abs(values)
    large = size >= 1
    if not np.any(large):
        return A, 0
    target = np.clip(1 / np.where(large, size, 1), _MODULUS, _SLOWEST)
    if np.linalg.cond(vectors) > np.finfo(float).eps ** -0.5:  # nearly defective: no eigenvectors to move it by
        return A * float(np.min(target)) / float(np.max(size)), int(np.sum(large))
    values = np.where(large, target * values / np.where(large, size, 1), values)
    return np.real(vectors @ np.diag(values) @ np.linalg.inv(vectors)), int(np.sum(large))


def _inputs(
    records: list[Record], A: np.ndarray, C: np.ndarray, has_feedthrough: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`B` and `D` from `y[k] = C A^k x0 + Σ_ij b_ij C ξ_ij[k] + D u[k]`, with `ξ⁺ = A ξ + e_i u_j`: linear in all."""
    n, p = A.shape[0], C.shape[0]
    m = records[0].u.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
    rows, targets = [], []
    for index, one in enumerate(records):
        u, y, measured = (np.asarray(leaf) for leaf in (one.u, one.y, one.is_measured))
        free, forced = _responses(A, u)
        by_start = np.zeros((len(y), p, len(records), n))
        by_start[:, :, index] = np.einsum("pn,kni->kpi", C, free)
        by_input = np.einsum("pn,knij->kpij", C, forced).reshape(len(y), p, n * m)
        direct = np.einsum("pq,kj->kpqj", np.eye(p), u).reshape(len(y), p, p * m) * float(has_feedthrough)
        block = np.concatenate([by_start.reshape(len(y), p, -1), by_input, direct], axis=2)
        rows.append(block[measured])
        targets.append(y[measured])
    R = np.concatenate(rows)
    scale = np.maximum(np.linalg.norm(R, axis=0), 1e-300)
    solution = np.linalg.lstsq(R / scale, np.concatenate(targets), rcond=1e-10)[0] / scale
    solution = solution[len(records) * n :]
    return solution[: n * m].reshape(n, m), solution[n * m :].reshape(p, m)


def _responses(A: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`A^k`, shape `(time, n, n)`, and `ξ`, shape `(time, n, n, m)`, of every pair of state and input."""
    n, m = A.shape[0], u.shape[1]
    free, forced = np.zeros((len(u), n, n)), np.zeros((len(u), n, n, m))
    free[0] = np.eye(n)
    push = np.eye(n)[:, :, None]
    for k in range(len(u) - 1):
        free[k + 1] = A @ free[k]
        forced[k + 1] = (A @ forced[k].reshape(n, -1)).reshape(n, n, m) + push * u[k]
    return free, forced


def _state_size(records: list[Record], A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Deviations of the states in a run from rest, or one where nothing moves."""
    if B.shape[1] == 0:
        return np.ones(A.shape[0])
    states = []
    for one in records:
        x, u = np.zeros(A.shape[0]), np.asarray(one.u)
        for k in range(min(len(u), 2000)):
            x = A @ x + B @ u[k]
            states.append(x)
    size = np.std(np.array(states), axis=0)
    return np.where(np.isfinite(size) & (size > 1e-9), size, 1.0)
