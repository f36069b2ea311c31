"""The question in numbers: batches of random dense QPs in which nothing is shared. NumPy only.

minimise ½ z'Qz + q'z  subject to  A z = b,  G z <= h;  n variables, n/4 equalities, n inequalities. `Q = MM'/n + 0.1 I`
is strongly convex, and a random point satisfies the equalities and, with a margin, the inequalities.
"""

import numpy as np

SIZES = (10, 32, 100)
BATCHES = {10: (1, 8, 32, 256, 1024, 4096), 32: (1, 8, 32, 256, 1024, 4096), 100: (1, 8, 32, 256, 1024)}
SEEDS = (0, 1)  # the second is one that nothing was tuned on
TOLERANCE = 1e-8  # asked of every contestant: largest entry of the optimality conditions


def instance(seed: int, n: int, batch: int) -> dict[str, np.ndarray]:
    """`batch` programs; those of a smaller batch are the first ones of a larger."""
    rngs = [np.random.default_rng([seed, n, i]) for i in range(batch)]
    programs = [_program(rng, n) for rng in rngs]
    return {name: np.stack([program[name] for program in programs]) for name in programs[0]}


def _program(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    equalities = max(1, n // 4)
    factor = rng.standard_normal((n, n))
    inside = rng.standard_normal(n)
    data = {"Q": factor @ factor.T / n + 0.1 * np.eye(n), "q": rng.standard_normal(n)}
    data["A"] = rng.standard_normal((equalities, n))
    data["b"] = data["A"] @ inside
    data["G"] = rng.standard_normal((n, n))
    data["h"] = data["G"] @ inside + rng.uniform(0.1, 1.0, n)
    return data
