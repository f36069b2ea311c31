"""Random linear-quadratic problems with cross terms and matrices that vary in time, and their dense referee."""

import numpy as np

CASES = ((20, 8, 4), (100, 12, 4), (1000, 12, 4))  # steps, states, inputs
BATCHES = (1, 64, 128)
SMALL_SIZES = (2, 4, 8, 12, 16)
SMALL_BATCHES = (1, 64, 1000)

Arrays = tuple[np.ndarray, ...]


def instances(seed: int, steps: int, nx: int, nu: int, batch: int) -> tuple[Arrays, Arrays]:
    """Matrices (Q, S, R, A, B) and vectors (q, r, c, x0) of a batch; open loops are mildly unstable."""
    rng = np.random.default_rng(seed)
    size = nx + nu
    root = rng.standard_normal((batch, steps + 1, size, size))
    W = root @ root.mT / size + 0.1 * np.eye(size)
    A = np.eye(nx) + 0.1 * rng.standard_normal((batch, steps, nx, nx)) / np.sqrt(nx)
    B = rng.standard_normal((batch, steps, nx, nu)) / np.sqrt(nx)
    shapes = ((steps + 1, nx), (steps, nu), (steps, nx), (nx,))
    vectors = tuple(rng.standard_normal((batch, *shape)) for shape in shapes)
    return (W[..., :nx, :nx], W[:, :-1, nx:, :nx], W[:, :-1, nx:, nx:], A, B), vectors


def residual(matrices: Arrays, vectors: Arrays, answer: Arrays) -> float:
    """Referee: the largest KKT residual of one instance, relative to the largest number of the answer."""
    Q, S, R, A, B = matrices
    q, r, c, x0 = vectors
    x, u, nu = answer
    before = np.concatenate([np.zeros_like(x0)[None], nu])  # multiplies the step into x_k; that into x_0 is free
    stage = np.einsum("kij,kj->ki", Q[:-1], x[:-1]) + np.einsum("kji,kj->ki", S, u) + q[:-1]
    by_x = stage + before[:-1] - np.einsum("kji,kj->ki", A, nu)
    by_u = np.einsum("kij,kj->ki", S, x[:-1]) + np.einsum("kij,kj->ki", R, u) + r - np.einsum("kji,kj->ki", B, nu)
    dynamics = x[1:] - np.einsum("kij,kj->ki", A, x[:-1]) - np.einsum("kij,kj->ki", B, u) - c
    parts = (by_x[1:], Q[-1] @ x[-1] + q[-1] + nu[-1], by_u, dynamics, x[0] - x0)
    return float(max(np.abs(part).max(initial=0.0) for part in parts) / max(np.abs(v).max() for v in answer))
