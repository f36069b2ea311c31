"""The double integrator."""

import numpy as np

from .._linear import LinearContinuous


def double_integrator() -> LinearContinuous:
    """`dx1 = x2`, `dx2 = u`: position [m] and velocity [m/s] of a unit mass under a force [N], as a `LinearContinuous`.

    `discretise(double_integrator(), Exact(), dt=h)` has no step error: `A = [[1, h], [0, 1]]`, `B = [h**2 / 2, h]`.

    Source: Rao & Bernstein (2001), Naive control of the double integrator, IEEE Control Systems 21(5), 86-97,
    doi:10.1109/37.954521.
    """
    return LinearContinuous(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]]))
