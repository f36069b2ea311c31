"""The same problem in CasADi for IPOPT: SX expressions, exact Hessian, states and inputs as unknowns."""

from types import SimpleNamespace

import casadi
import numpy as np
import problem

CASADI = SimpleNamespace(
    sin=casadi.sin, cos=casadi.cos, stack=lambda v: casadi.vertcat(*v), parts=lambda x: casadi.vertsplit(x)
)
NUMPY = SimpleNamespace(sin=np.sin, cos=np.cos, stack=np.array, parts=list)
OPTIONS = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes", "ipopt.max_iter": 2000}


def solver(case):
    """`(x0, u) -> (inputs, iterations, whether solved)`, from the run under `u`; built once."""
    nx, nu = len(case.X0), len(case.U0)
    x, u = casadi.SX.sym("x", nx), casadi.SX.sym("u", nu)
    advance = casadi.Function("advance", [x, u], [case.step(x, u, CASADI)])
    first = casadi.SX.sym("x0", nx)
    xs = [casadi.SX.sym(f"x{k}", nx) for k in range(1, case.N + 1)]
    us = [casadi.SX.sym(f"u{k}", nu) for k in range(case.N)]
    before = [first, *xs[:-1]]
    weighted = lambda weight, error: 0.5 * casadi.dot(casadi.DM(weight), error**2)
    total = weighted(case.P, xs[-1] - case.GOAL)
    for a, b in zip(before, us, strict=True):
        total += case.DT * (weighted(case.Q, a - case.GOAL) + weighted(case.R, b - case.REST))
    defects = [c - advance(a, b) for a, b, c in zip(before, us, xs, strict=True)]
    stages = casadi.vertcat(*[v for pair in zip(us, xs, strict=True) for v in pair])
    program = {"x": stages, "f": total, "g": casadi.vertcat(*defects), "p": first}
    options = {**OPTIONS, "ipopt.tol": problem.TOLERANCE}
    if case.LOWER is not None:
        options["ipopt.bound_relax_factor"] = 0.0  # bounds hold exactly, as they do for the planners
    found = casadi.nlpsol("solver", "ipopt", program, options)
    infinite = np.full(nx, np.inf)
    low, high = (
        np.tile(np.concatenate([np.full(nu, sign * np.inf) if bound is None else bound, sign * infinite]), case.N)
        for bound, sign in ((case.LOWER, -1.0), (case.UPPER, 1.0))
    )

    def solve(x0, u0):
        states = problem.run(case, x0, u0, NUMPY)[1:]
        begin = np.concatenate([u0, states], axis=1).ravel()
        result = found(x0=begin, p=x0, lbx=low, ubx=high, lbg=0.0, ubg=0.0)
        inputs = np.asarray(result["x"]).reshape(case.N, nu + nx)[:, :nu]
        return inputs, found.stats()["iter_count"], found.stats()["success"]

    return solve
