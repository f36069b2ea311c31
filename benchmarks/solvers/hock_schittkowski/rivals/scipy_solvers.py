"""SciPy's general solvers with exact derivatives from JAX; multipliers are left to the referee's least squares.

SLSQP takes first derivatives, trust-constr the Hessian of the Lagrangian too. Both are asked for more than the
referee's tolerance; the `gtol` of trust-constr looks at no complementarity and would end it too early.
"""

import numpy as np
from scipy.optimize import Bounds, minimize, NonlinearConstraint

MAX_STEPS = 1000


class _Cached:
    """Values and derivatives at the last point."""

    def __init__(self, problem):
        self.evaluate, self.key, self.at = problem.first(), None, None

    def __call__(self, x, name):
        if self.key is None or not np.array_equal(self.key, x):
            self.key, self.at = np.array(x), self.evaluate(x)
        return self.at[name]


def _outcome(found):
    return {"x": found.x, "claimed": bool(found.success), "said": str(found.message), "steps": int(found.nit)}


def slsqp(problem):
    """`minimize(method="SLSQP")`."""
    value = _Cached(problem)
    rules = []
    if problem.equalities is not None:
        rules.append({"type": "eq", "fun": lambda x: value(x, "c"), "jac": lambda x: value(x, "C")})
    if problem.inequalities is not None:
        rules.append({"type": "ineq", "fun": lambda x: -value(x, "g"), "jac": lambda x: -value(x, "G")})
    found = minimize(
        lambda x: float(value(x, "f")),
        problem.x0,
        jac=lambda x: value(x, "slope"),
        bounds=Bounds(problem.lower, problem.upper),
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": MAX_STEPS},
    )
    return _outcome(found)


def trust_constr(problem):
    """`minimize(method="trust-constr")`."""
    value, curvature = _Cached(problem), problem.second()
    sizes = {name: len(value(problem.x0, name)) for name in ("c", "g")}
    none = {name: np.zeros(size) for name, size in sizes.items()}
    limits = {"c": (0.0, 0.0), "g": (-np.inf, 0.0)}
    parts = {"c": lambda x, v: curvature(x, 0.0, v, none["g"]), "g": lambda x, v: curvature(x, 0.0, none["c"], v)}
    rules = [
        NonlinearConstraint(
            lambda x, name=name: value(x, name),
            *limits[name],
            jac=lambda x, name=name: value(x, name.upper()),
            hess=parts[name],
        )
        for name, size in sizes.items()
        if size
    ]
    bounded = np.any(np.isfinite(problem.lower)) or np.any(np.isfinite(problem.upper))
    found = minimize(
        lambda x: float(value(x, "f")),
        problem.x0,
        jac=lambda x: value(x, "slope"),
        hess=lambda x: curvature(x, 1.0, none["c"], none["g"]),
        bounds=Bounds(problem.lower, problem.upper) if bounded else None,
        constraints=rules,
        method="trust-constr",
        options={"gtol": 1e-12, "xtol": 1e-12, "barrier_tol": 1e-10, "maxiter": MAX_STEPS},
    )
    return {**_outcome(found), "claimed": found.status in (1, 2)}
