"""The tanks' control problem written again in CasADi, solved by IPOPT: other equations, derivatives and solver."""

import casadi
import numpy as np

from sciml.studies import _tanks_model as tanks

DT, N = 4.0, tanks.HORIZON


def rates(q, x, u):
    """The equations of `CascadedTanks`, written again in CasADi's terms."""
    soft = lambda v, w: casadi.fmax(v, 0) + w * casadi.log1p(casadi.exp(-casadi.fabs(v) / w))
    logistic = lambda v: 1 / (1 + casadi.exp(-v))
    positive = lambda v: 0.5 * (v + casadi.sqrt(v**2 + 1e-2)) + 1e-4
    x1, x2, v = x[0], x[1], x[2]
    q1 = q["outflow1"] * (positive(x1 + q["head1"]) / (10 + q["head1"])) ** q["power1"]
    q1 += q["jet1"] * logistic((x1 - q["at1"]) / q["width1"])
    q2 = q["outflow2"] * (positive(x2) / 10) ** q["power2"] + q["jet2"] * logistic((x2 - q["at2"]) / q["width2"])
    spill1, spill2 = 0.35 * soft(x1 - 10, 0.05), 0.35 * soft(x2 - q["brim2"], 0.05)
    pump = q["gain"] * soft(v - q["dead"], 0.1)
    return casadi.vertcat(
        q["ratio"] * (pump - q1) - spill1, q1 + q["share"] * spill1 / q["ratio"] - q2 - spill2, (u - v) / q["lag"]
    )


def referee(q):
    """A function (x0, reference) -> (optimal cost), built once."""
    x, u, x0, reference = casadi.SX.sym("x", 3, N), casadi.SX.sym("u", 1, N), casadi.SX.sym("x0", 3), casadi.SX.sym("r")
    cost, gaps, now = 0, [], x0
    for k in range(N):
        f = lambda x, k=k: rates(q, x, u[k])
        k1 = f(now)
        k2 = f(now + DT / 2 * k1)
        k3 = f(now + DT / 2 * k2)
        k4 = f(now + DT * k3)
        gaps.append(x[:, k] - (now + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)))
        cost += (now[1] - reference) ** 2 + 0.05 * (u[k] - now[2]) ** 2
        now = x[:, k]
    cost += 5 * (now[1] - reference) ** 2
    z, p = casadi.vertcat(casadi.vec(x), casadi.vec(u)), casadi.vertcat(x0, reference)
    options = {"ipopt.print_level": 0, "print_time": 0, "ipopt.tol": 1e-10, "ipopt.bound_relax_factor": 0.0}
    return casadi.nlpsol("referee", "ipopt", {"x": z, "f": cost, "g": casadi.vertcat(*gaps), "p": p}, options)


def optimum(solver, x0, reference):
    """IPOPT's optimal cost of one scenario, or None if it does not claim success."""
    (l1, h1), (l2, h2) = tanks.LEVELS
    low = np.concatenate([np.tile([l1, l2, -np.inf], N), np.full(N, tanks.INPUT[0])])
    high = np.concatenate([np.tile([h1, h2, np.inf], N), np.full(N, tanks.INPUT[1])])
    start = np.concatenate([np.tile(x0, N), np.full(N, 3.0)])
    out = solver(x0=start, p=np.append(x0, reference), lbx=low, ubx=high, lbg=0, ubg=0)
    return float(out["f"]) if solver.stats()["success"] else None
