"""The KKT residual of an answer in plain NumPy, with derivatives written by hand."""

import numpy as np


def residual(z: np.ndarray, multiplier: np.ndarray, stiffness: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Largest violation of the optimality conditions, for each instance.

    With `r = ∇f + λ 1` the projected step `z - proj(z - r)` is zero exactly at stationary points over the box
    (Facchinei & Pang 2003, section 1.5); `min(-g, λ)` is zero exactly where the half-space is complementary.

    Args:
        z: decisions, `[batch, n]`.
        multiplier: of the half-space, `[batch]`.
        stiffness: `c`, `[batch]`.
        limit: `d`, `[batch]`.
    """
    odd, even, c = z[:, 0::2], z[:, 1::2], stiffness[:, None]
    gradient = np.empty_like(z)
    gradient[:, 0::2] = -2 * (1 - odd) - 4 * c * odd * (even - odd**2)
    gradient[:, 1::2] = 2 * c * (even - odd**2)
    slope = gradient + multiplier[:, None]
    stationarity = np.abs(z - np.clip(z - slope, -2.0, 2.0)).max(axis=1)
    g = z.sum(axis=1) - limit
    return np.maximum(stationarity, np.abs(np.minimum(-g, multiplier)))
