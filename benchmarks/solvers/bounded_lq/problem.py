"""The question in numbers: the 128 bounded linear-quadratic problems of acados' comparison. NumPy only.

    minimise    ½ Σ_{k<N} [x_k; u_k]ᵀ H [x_k; u_k] + ½ x_Nᵀ H_xx x_N
    subject to  x_{k+1} = A x_k + B u_k + b,   x_0 given,   |u_k| <= u_max

N = 20, 8 states, 4 inputs, H = I, A = I + 0.2 randn, B = randn, b = randn; instances differ in x_0 only. Derivatives
are those of the sum of all first inputs with respect to the 248 entries of A, B, b and H.

Source: Frey, Baumgärtner, Frison, Reinhardt, Hoffmann, Fichtner, Gros & Diehl (2025), Differentiable nonlinear model
predictive control, arXiv:2505.01353, table 1; the draws follow the order of its published generator (seed 42), in
which the loose bound comes first and each bound has its own matrices.
"""

import numpy as np

STEPS, NX, NU, BATCH = 20, 8, 4, 128
BOUNDS = (1.0, 1e4)
SEEDS = (42, 43)  # the published one, and one that nothing was tuned on
TOLERANCE = 1e-6  # largest error of an input of a solved instance
ASKED = 1e-8  # tolerance asked of every contestant
# Published milliseconds on four threads of an i7-8665U, of the solution and of the solution with adjoint derivatives.
THREADS = 4
PUBLISHED = {
    1.0: {
        "acados": (12.2, 41.4), "mpc.pytorch": (12.2 * 2.1e3, 41.4 * 616), "cvxpygen": (12.2 * 158, 41.4 * 37.8),
    },
    1e4: {"acados": (8.3, 33.1), "mpc.pytorch": (8.3 * 8.5, 33.1 * 3.85), "cvxpygen": (8.3 * 37.7, 33.1 * 19)},
}  # fmt: skip


def instance(seed: int, u_max: float, batch: int = BATCH) -> dict[str, np.ndarray]:
    """`A`, `B`, `b`, `H` shared by all instances, `x0` `(batch, 8)` and `u_max`."""
    rng = np.random.RandomState(seed)  # the legacy generator of the source
    for bound in (1e4, 1.0):
        A = np.eye(NX) + 0.2 * rng.randn(NX, NX)
        B, b = rng.randn(NX, NU), rng.randn(NX)
        x0, _ = rng.randn(BATCH, NX), rng.randn(BATCH, NX)  # the second draw is for its timings with derivatives
        if bound == u_max:
            return {"A": A, "B": B, "b": b, "H": np.eye(NX + NU), "x0": x0[:batch], "u_max": np.asarray(u_max)}
    raise ValueError(f"`u_max`: got {u_max}; expected one of {BOUNDS}")
