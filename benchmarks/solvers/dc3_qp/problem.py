"""The question in numbers: the convex parametric QP of DC3, and its test instances. NumPy only.

minimise ½ y'Qy + p'y  subject to  A y = x,  G y <= h, where only `x` differs between instances.

Source: Donti, Rolnick & Kolter (2021), "DC3: A learning method for optimization with hard constraints", section 4.1,
ICLR; the draws follow its published generator.
"""

import numpy as np

VARIABLES, EQUALITIES, INEQUALITIES = 100, 50, 50
INSTANCES, TESTED = 10_000, 833  # drawn; the last ones are tested
SEEDS = (17, 18)  # the published one, and one that nothing was tuned on
TOLERANCE, TOLERANCE_SINGLE = 1e-8, 1e-5  # asked of every contestant: largest entry of the optimality conditions
OBJECTIVE = {17: -15.0469}  # mean optimal value of the tested instances
SHARED = ("Q", "A", "G", "h")


def instance(seed: int, tested: int = TESTED) -> dict[str, np.ndarray]:
    """`Q`, `A`, `G`, `h` shared by all instances, `b` (tested, 50), and `weight` (tested, 100) of the derivatives.

    `q` (tested, 100) is the same in all instances, but is there for each, so that its derivative can be asked for.
    """
    rng = np.random.RandomState(seed)  # the legacy generator of the source
    quadratic = np.diag(rng.random_sample(VARIABLES))
    linear = rng.random_sample(VARIABLES)
    equality = rng.normal(0, 1.0, (EQUALITIES, VARIABLES))
    right = rng.uniform(-1, 1, (INSTANCES, EQUALITIES))
    inequality = rng.normal(0, 1.0, (INEQUALITIES, VARIABLES))
    limits = np.sum(np.abs(inequality @ np.linalg.pinv(equality)), axis=1)
    weight = np.random.default_rng(seed).standard_normal((tested, VARIABLES))
    data = {
        "Q": quadratic,
        "q": np.tile(linear, (tested, 1)),
        "A": equality,
        "b": right[-tested:],
        "G": inequality,
        "h": limits,
    }
    return {**data, "weight": weight}


def unshared(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same instances with a copy of every array for each."""
    lanes = len(data["b"])
    return {k: np.tile(v, (lanes, *[1] * v.ndim)) if k in SHARED else v for k, v in data.items()}


def single(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same in float32."""
    return {name: value.astype(np.float32) for name, value in data.items()}


def tolerance(data: dict[str, np.ndarray]) -> float:
    """What every contestant is asked for, by dtype."""
    return TOLERANCE if data["b"].dtype == np.float64 else TOLERANCE_SINGLE
