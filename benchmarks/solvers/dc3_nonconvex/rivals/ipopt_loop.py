"""IPOPT as CasADi ships it: one solver, compiled once, `x` its parameter; instances one after the other.

Expressions are scalar (`SX`, what `expand` would make of matrix expressions), derivatives exact and sparse, printing is
off and so is the sensitivity to the parameters. Every other setting is its default, the tolerance of 1e-8 and the
linear solver (MUMPS) too.
"""

import time

import casadi as ca
import numpy as np
import problem


def solver(data):
    """The parametric NLP; rows are the equalities, then the inequalities."""
    y, x = ca.SX.sym("y", len(data["Q"])), ca.SX.sym("x", data["A"].shape[0])
    cost = 0.5 * ca.dot(data["Q"] * y, y) + ca.dot(data["p"], ca.sin(y))
    rows = ca.vertcat(ca.mtimes(ca.DM(data["A"]), y) - x, ca.mtimes(ca.DM(data["G"]), y))
    quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False, "error_on_fail": False}
    settings = {**quiet, "calc_lam_p": False, "ipopt.tol": problem.TOLERANCE}
    return ca.nlpsol("solver", "ipopt", {"x": y, "p": x, "f": cost, "g": rows}, settings)


def prepare(data):
    """One instance, and the first `timed`; the answers are those of the first `sequential`."""
    start = time.process_time()
    one = solver(data)
    seconds = time.process_time() - start
    equalities, count = data["A"].shape[0], int(data["sequential"])
    lower = np.concatenate([np.zeros(equalities), np.full(len(data["h"]), -np.inf)])
    upper = np.concatenate([np.zeros(equalities), data["h"]])
    sizes = {"y": len(data["Q"]), "eq": equalities, "ineq": len(data["h"])}
    kept = {name: np.empty((count, size)) for name, size in sizes.items()}
    kept.update(ok=np.empty(count, bool), steps=np.empty(count))

    def some(until, *, counted=False):
        for i in range(until):
            found = one(x0=data["start"][i], p=data["x"][i], lbg=lower, ubg=upper)
            duals = found["lam_g"].full().ravel()
            kept["y"][i], kept["eq"][i], kept["ineq"][i] = found["x"].full().ravel(), *np.split(duals, [equalities])
            if counted:  # its statistics take time to collect
                stats = one.stats()
                kept["ok"][i], kept["steps"][i] = stats["success"], stats["iter_count"]
        return kept

    some(count, counted=True)
    timed = int(data["timed"])
    return {"one": lambda: some(1), "batch": lambda: some(timed)}, {"one": seconds, "batch": seconds}
