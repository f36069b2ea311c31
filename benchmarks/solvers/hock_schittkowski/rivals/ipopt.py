"""IPOPT as CasADi ships it, default settings, with exact derivatives from JAX as CasADi callbacks."""

import casadi as ca
import numpy as np

MAX_STEPS = 3000  # its default


class _Function(ca.Callback):
    """`function(*inputs) -> outputs` with dense arrays of given shapes."""

    def __init__(self, name, ins, outs, function):
        ca.Callback.__init__(self)
        self.ins, self.outs, self.function = ins, outs, function
        self.construct(name, {})

    def get_n_in(self):
        return len(self.ins)

    def get_n_out(self):
        return len(self.outs)

    def get_sparsity_in(self, i):
        return self.ins[i]

    def get_sparsity_out(self, i):
        return self.outs[i]

    def eval(self, arguments):
        found = self.function(*[a.full() for a in arguments])
        return [ca.project(ca.DM(value), pattern) for value, pattern in zip(found, self.outs, strict=True)]


def ipopt(problem):
    """`nlpsol("ipopt")`; rows are the equalities, then the inequalities."""
    first, curvature = problem.first(), problem.second()
    at = first(problem.x0)
    n, m_c, m = len(problem.x0), len(at["c"]), len(at["c"]) + len(at["g"])
    memory = {}

    def evaluate(x):
        key = x.tobytes()
        if key not in memory:
            memory.clear()
            memory[key] = first(x.ravel())
        return memory[key]

    rows = lambda at: np.concatenate([at["c"], at["g"]]).reshape(-1, 1)
    jacobian = lambda at: np.concatenate([at["C"], at["G"]]).reshape(m, n)
    hessian = lambda x, p, s, v: [np.triu(curvature(x.ravel(), float(s[0, 0]), v.ravel()[:m_c], v.ravel()[m_c:]))]
    dense = ca.Sparsity.dense
    one, column, triangle = dense(1, 1), dense(n, 1), ca.Sparsity.upper(n)
    nothing = ca.Sparsity(0, 1)
    f = _Function("f", [column], [one], lambda x: [np.reshape(evaluate(x)["f"], (1, 1))])
    g = _Function("g", [column], [dense(m, 1)], lambda x: [rows(evaluate(x))])
    slope = lambda x, p: [np.reshape(evaluate(x)["f"], (1, 1)), evaluate(x)["slope"].reshape(n, 1)]
    grad_f = _Function("grad_f", [column, nothing], [one, column], slope)
    both = lambda x, p: [rows(evaluate(x)), jacobian(evaluate(x))]
    jac_g = _Function("jac_g", [column, nothing], [dense(m, 1), dense(m, n)], both)
    hess = _Function("hess_lag", [column, nothing, one, dense(m, 1)], [triangle], hessian)
    x = ca.MX.sym("x", n)
    nlp = {"x": x, "f": f(x), "g": g(x) if m else ca.MX(0, 1)}
    quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "ipopt.max_iter": MAX_STEPS, "print_time": False}
    exact = {"grad_f": grad_f, "hess_lag": hess, **({"jac_g": jac_g} if m else {})}
    solver = ca.nlpsol("solver", "ipopt", nlp, {**quiet, **exact, "error_on_fail": False, "no_nlp_grad": True})
    below = np.concatenate([np.zeros(m_c), np.full(m - m_c, -np.inf)])
    found = solver(x0=problem.x0, lbx=problem.lower, ubx=problem.upper, lbg=below, ubg=np.zeros(m))
    array = lambda name: found[name].full().ravel()
    stats, dual, limit = solver.stats(), array("lam_g"), array("lam_x")
    return {
        "x": array("x"),
        "eq": dual[:m_c],
        "ineq": dual[m_c:],
        "lower": np.maximum(-limit, 0.0),
        "upper": np.maximum(limit, 0.0),
        "claimed": bool(stats["success"]),
        "said": stats["return_status"],
        "steps": int(stats["iter_count"]),
    }
