"""The extended Rosenbrock function in a half-space, with a stiffness that differs from instance to instance.

    minimise    Σᵢ (1 - z₂ᵢ₋₁)² + c (z₂ᵢ - z₂ᵢ₋₁²)²,  i = 1, 2
    subject to  z₁ + z₂ + z₃ + z₄ <= d,   -2 <= z <= 2

Most instances have a shallow valley (`c` about 1) and a start near the solution. One in a hundred has `c` of about 1e5
and starts at the far end of the valley, at the standard start (-1.2, 1), from where Newton's method has to follow the
bend.

Source: Moré, Garbow & Hillstrom (1981), Testing Unconstrained Optimization Software, problem 21,
DOI 10.1145/355934.355936. Deviations: the factor 100 is the parameter `c`; half-space and bounds are added.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml import Program

SIZE = 4
COUNT = 10_000
HARD = 0.01


class Instance(NamedTuple):
    stiffness: Array
    limit: Array


def cost(z: Array, p: Instance) -> Array:
    """The extended Rosenbrock function."""
    odd, even = z[0::2], z[1::2]
    return jnp.sum((1 - odd) ** 2 + p.stiffness * (even - odd**2) ** 2)


def half_space(z: Array, p: Instance) -> Array:
    """The sum of the decision is limited; it binds, since the free minimiser has the sum 4."""
    return jnp.sum(z) - p.limit


PROGRAM = Program(cost, ineq=half_space, lower=-2.0, upper=2.0)


def instances(seed: int, count: int = COUNT) -> tuple[np.ndarray, Instance, np.ndarray]:
    """Starts, instances and which of them are hard; one in a hundred, at random places."""
    rng = np.random.default_rng(seed)
    hard = np.zeros(count, bool)
    hard[rng.choice(count, round(HARD * count), replace=False)] = True
    stiffness = np.where(hard, rng.uniform(0.5e5, 1.5e5, count), rng.uniform(0.5, 2.0, count))
    limit = rng.uniform(3.0, 3.8, count)
    near = rng.uniform(0.6, 0.9, (count, SIZE))
    starts = np.where(hard[:, None], np.tile([-1.2, 1.0], SIZE // 2), near)
    return starts, Instance(jnp.asarray(stiffness), jnp.asarray(limit)), hard
