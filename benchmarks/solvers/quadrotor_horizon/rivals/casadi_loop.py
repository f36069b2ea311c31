"""The same program in CasADi: SX expressions, exact second derivatives, one instance after the other."""

from types import SimpleNamespace

import casadi
import numpy as np
import problem

CASADI = SimpleNamespace(sin=casadi.sin, cos=casadi.cos, stack=lambda v: casadi.vertcat(*v), parts=casadi.vertsplit)


def _program(reference):
    """Objective, defects and the decision `x_0, u_0, x_1, ..., x_N` in the order of the stages."""
    horizon = len(reference) - 1
    x, u = casadi.SX.sym("x", problem.NX), casadi.SX.sym("u", problem.NU)
    advance = casadi.Function("advance", [x, u], [problem.step(x, u, CASADI)])
    xs = [casadi.SX.sym(f"x{k}", problem.NX) for k in range(horizon + 1)]
    us = [casadi.SX.sym(f"u{k}", problem.NU) for k in range(horizon)]
    weighted = lambda weight, error: 0.5 * casadi.dot(casadi.DM(weight), error**2)
    cost = weighted(problem.P, xs[-1] - reference[-1])
    for k in range(horizon):
        running = weighted(problem.Q, xs[k] - reference[k]) + weighted(problem.R, us[k] - problem.HOVER)
        cost += problem.DT * running
    defects = [xs[k + 1] - advance(xs[k], us[k]) for k in range(horizon)]
    decision = [v for pair in zip(xs, us, strict=False) for v in pair] + [xs[-1]]
    return {"x": casadi.vertcat(*decision), "f": cost, "g": casadi.vertcat(*defects)}


def _joined(first, x, u):
    """One vector in the decision's order."""
    stages = np.concatenate([np.concatenate([first[None], x[:-1]]), u], axis=1)
    return np.concatenate([stages.ravel(), x[-1]])


def actions(data, plugin, options):
    """Forward."""
    batch, horizon = len(data["x0"]), len(data["reference"]) - 1
    solver = casadi.nlpsol("solver", plugin, _program(data["reference"]), {"print_time": False, **options})
    x, u = problem.start(data)
    spread = lambda bound, n: np.tile(bound, (horizon, 1)) if np.ndim(bound) else np.full((horizon, n), bound)
    lower, upper = spread(problem.X_LOWER, problem.NX), spread(problem.X_UPPER, problem.NX)
    least, most = spread(0.0, problem.NU), spread(problem.MOST_THRUST, problem.NU)

    def forward():
        found = {"x": np.empty((batch, horizon, problem.NX)), "u": np.empty((batch, horizon, problem.NU))}
        found["nu"], found["steps"] = np.empty(found["x"].shape), np.empty(batch)
        for i, first in enumerate(data["x0"]):
            bounds = {"lbx": _joined(first, lower, least), "ubx": _joined(first, upper, most), "lbg": 0.0, "ubg": 0.0}
            result = solver(x0=_joined(first, x, u), **bounds)
            flat = np.asarray(result["x"]).ravel()
            stages = flat[: -problem.NX].reshape(horizon, -1)
            found["u"][i] = stages[:, problem.NX :]
            found["x"][i, :-1], found["x"][i, -1] = stages[1:, : problem.NX], flat[-problem.NX :]
            found["nu"][i] = np.asarray(result["lam_g"]).reshape(horizon, problem.NX)
            found["steps"][i] = solver.stats()["iter_count"]
        return found

    return {"forward": forward}, {}
