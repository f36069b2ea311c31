"""IPOPT with MUMPS, by CasADi: SX expressions, exact Hessian, started from the shifted plan and its multipliers."""

from types import SimpleNamespace

import casadi
import numpy as np
import problem

CASADI = SimpleNamespace(
    sin=casadi.sin, cos=casadi.cos, stack=lambda v: casadi.vertcat(*v), parts=lambda x: casadi.vertsplit(x)
)
NUMPY = SimpleNamespace(sin=np.sin, cos=np.cos, stack=np.array, parts=list)
OPTIONS = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes", "ipopt.max_iter": 200}
WARM = {
    "ipopt.warm_start_init_point": "yes",
    "ipopt.mu_init": 1e-5,
    "ipopt.warm_start_bound_push": 1e-8,
    "ipopt.warm_start_mult_bound_push": 1e-8,
    "ipopt.warm_start_slack_bound_push": 1e-8,
}


def transcribed(case):
    """The program over inputs and states, stage by stage, and its bounds."""
    nx, nu = len(case.GOAL), len(case.REST)
    x, u = casadi.SX.sym("x", nx), casadi.SX.sym("u", nu)
    advance = casadi.Function("advance", [x, u], [case.step(x, u, CASADI)])
    first = casadi.SX.sym("x0", nx)
    xs = [casadi.SX.sym(f"x{k}", nx) for k in range(1, problem.N + 1)]
    us = [casadi.SX.sym(f"u{k}", nu) for k in range(problem.N)]
    before = [first, *xs[:-1]]
    weighted = lambda weight, error: 0.5 * casadi.dot(casadi.DM(weight), error**2)
    total = weighted(case.P, xs[-1] - case.GOAL)
    for a, b in zip(before, us, strict=True):
        total += case.DT * (weighted(case.Q, a - case.GOAL) + weighted(case.R, b - case.REST))
    defects = [c - advance(a, b) for a, b, c in zip(before, us, xs, strict=True)]
    stages = casadi.vertcat(*[v for pair in zip(us, xs, strict=True) for v in pair])
    program = {"x": stages, "f": total, "g": casadi.vertcat(*defects), "p": first}
    low = np.tile(np.concatenate([case.LOWER, case.X_LOWER]), problem.N)
    high = np.tile(np.concatenate([case.UPPER, case.X_UPPER]), problem.N)
    return program, {"lbx": low, "ubx": high, "lbg": 0.0, "ubg": 0.0}


def later(vector, size):
    """Without the first stage, the last one twice."""
    v = np.asarray(vector).ravel()
    return np.concatenate([v[size:], v[-size:]])


def prepare(case, data):
    """One closed loop, and some of them one after the other."""
    nx, nu = len(case.GOAL), len(case.REST)
    program, bounds = transcribed(case)
    options = {**OPTIONS, "ipopt.tol": problem.TOLERANCE}
    cold = casadi.nlpsol("cold", "ipopt", program, options)
    warm = casadi.nlpsol("warm", "ipopt", program, {**options, **WARM})

    def loop(x0):
        held = np.tile(case.REST, (problem.N, 1))
        states = problem.run(case, x0, held, NUMPY)[1:]
        start, solver, x = {"x0": np.concatenate([held, states], axis=1).ravel()}, cold, x0
        us, counts, failed = [], [], []
        for _ in range(problem.STEPS):
            found = solver(p=x, **start, **bounds)
            stats = solver.stats()
            counts.append(stats["iter_count"])
            failed.append(not stats["success"])
            us.append(np.asarray(found["x"]).ravel()[:nu])
            x = np.asarray(case.step(x, us[-1], NUMPY))
            start = {"x0": later(found["x"], nx + nu), "lam_g0": later(found["lam_g"], nx)}
            start["lam_x0"], solver = later(found["lam_x"], nx + nu), warm
        return {"u": np.array(us), "steps": np.array(counts), "failed": np.array(failed)}

    def some():
        runs = [loop(x0) for x0 in data["x0"][: problem.LOOPS]]
        return {name: np.stack([one[name] for one in runs]) for name in runs[0]}

    return {"loop": lambda: loop(data["x0"][0]), "batch": some}, {}
