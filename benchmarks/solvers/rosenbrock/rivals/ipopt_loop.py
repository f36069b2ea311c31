"""IPOPT as CasADi ships it: one solver, compiled once, with parameters; instances one after the other.

Expressions are scalar (`SX`, what `expand` would make of matrix expressions), derivatives exact, printing is off and so
is the sensitivity to the parameters. Every other setting is its default, the tolerance of 1e-8 too. All instances are
solved once; a timed call repeats the first `timed` of them.
"""

import time

import casadi as ca
import numpy as np
import problem


def solver():
    """The parametric NLP."""
    z, p = ca.SX.sym("z", 2), ca.SX.sym("p", 2)
    radius = z[0] ** 2 + z[1] ** 2
    cost = (1 - z[0]) ** 2 + p[0] * (z[1] - z[0] ** 2) ** 2
    rows = ca.vertcat((p[1] / 2) ** 2 - radius, radius - p[1] ** 2, z[1] - z[0])
    quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False, "error_on_fail": False}
    settings = {**quiet, "calc_lam_p": False, "ipopt.tol": problem.TOLERANCE}
    return ca.nlpsol("solver", "ipopt", {"x": z, "p": p, "f": cost, "g": rows}, settings)


def prepare(data):
    """One action."""
    start = time.process_time()
    one = solver()
    seconds = time.process_time() - start
    ps, count = np.stack([data["a"], data["p"]], axis=1), len(data["a"])
    kept = {"z": np.empty((count, 2)), "ineq": np.empty((count, 3))}
    kept.update(ok=np.empty(count, bool), steps=np.empty(count))

    def some(until, *, counted=False):
        for i in range(until):
            found = one(x0=problem.START, p=ps[i], lbg=-np.inf, ubg=0.0)
            kept["z"][i], kept["ineq"][i] = found["x"].full().ravel(), found["lam_g"].full().ravel()
            if counted:  # its statistics take time to collect
                stats = one.stats()
                kept["ok"][i], kept["steps"][i] = stats["success"], stats["iter_count"]
        return kept

    some(count, counted=True)
    return {"solve": lambda: some(int(data["timed"]))}, {"solve": seconds}
