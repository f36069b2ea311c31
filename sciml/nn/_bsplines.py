"""B-splines on uniform knots."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def basis(x: Float[Array, " *shape"], grid: int, degree: int) -> Float[Array, "*shape basis"]:
    """All `grid + degree` B-splines of `degree` on [-1, 1], cut into `grid` equal intervals, at `x`.

    They are nonnegative and sum to 1 on [-1, 1]; the knots go on beyond, where the sum fades to zero within `degree`
    intervals. `degree - 1` times continuously differentiable.

    Source: C. de Boor (1978), *A Practical Guide to Splines*, chapter X (the recurrence of Cox and de Boor), here for
    uniform knots.
    """
    return _recurrence(x, jnp.arange(-degree, grid + degree, dtype=x.dtype), grid, degree)


def _recurrence(x: Any, knots: Any, grid: int, degree: int) -> Any:
    """`basis` for arrays of JAX or NumPy; `knots` are in units of an interval."""
    u = ((x + 1) * grid / 2)[..., None]
    values = ((u >= knots) & (u < knots + 1)).astype(x.dtype)
    # B_{j,d}(u) = (u - j)/d B_{j,d-1}(u) + (j + d + 1 - u)/d B_{j+1,d-1}(u)
    for d in range(1, degree + 1):
        j = knots[: len(knots) - d]
        values = ((u - j) * values[..., :-1] + (j + d + 1 - u) * values[..., 1:]) / d
    return values


def refinement(grid: int, finer: int, degree: int) -> np.ndarray:
    """The matrix from coefficients on `grid` intervals to those of the same spline on `finer`, a multiple of `grid`."""
    # as many points as determine both; the finer space contains the coarser one, so that least squares is exact
    x = np.linspace(-1.0, 1.0, 4 * (finer + degree))
    old, new = (_recurrence(x, np.arange(-degree, n + degree, dtype=float), n, degree) for n in (grid, finer))
    return np.linalg.lstsq(new, old, rcond=None)[0]
