"""CasADi's interface to QP solvers, one instance after the other: on the inputs alone, or on states and inputs."""

import casadi
import numpy as np
import problem


def _dense(data):
    """`P` and `q(x_0)` over the inputs alone, from unit responses."""
    n, n_x = problem.STEPS * problem.NU, problem.NX
    width = n + n_x + 1  # columns: inputs, x_0, one
    x = np.zeros((n_x, width))
    x[:, n:-1] = np.eye(n_x)
    whole = np.zeros((width, width))
    for k in range(problem.STEPS):
        u = np.zeros((problem.NU, width))
        u[:, k * problem.NU : (k + 1) * problem.NU] = np.eye(problem.NU)
        z = np.vstack([x, u])
        whole += z.T @ data["H"] @ z
        x = data["A"] @ x + data["B"] @ u
        x[:, -1] += data["b"]
    whole += x.T @ data["H"][:n_x, :n_x] @ x
    return whole[:n, :n], data["x0"] @ whole[:n, n:-1].T + whole[:n, -1]


def dense(data, plugin, options):
    """Forward, for solvers of dense programs."""
    P, linear = _dense(data)
    bound, shape = float(data["u_max"]), (len(linear), problem.STEPS, problem.NU)
    sparsity = {"h": casadi.Sparsity.dense(*P.shape), "a": casadi.Sparsity(0, len(P))}
    solver = casadi.conic("solver", plugin, sparsity, {"print_time": False, "error_on_fail": False, **options})
    matrix = casadi.DM(P)

    def forward():
        found = [solver(h=matrix, g=q, lbx=-bound, ubx=bound)["x"] for q in linear]
        return {"u": np.stack([np.asarray(u).ravel() for u in found]).reshape(shape)}

    return {"forward": forward}, {}


def by_stages(data, plugin, options):
    """Forward, for solvers that exploit the stages: the decision is `x_0, u_0, x_1, ..., x_N`."""
    N, n_x, n_u = problem.STEPS, problem.NX, problem.NU
    width = n_x + n_u
    H = np.kron(np.eye(N + 1), data["H"])[:-n_u, :-n_u]
    rows = np.zeros((N * n_x, N * width + n_x))
    for k in range(N):
        at = slice(k * n_x, (k + 1) * n_x)
        rows[at, k * width : k * width + n_x], rows[at, k * width + n_x : (k + 1) * width] = data["A"], data["B"]
        rows[at, (k + 1) * width : (k + 1) * width + n_x] = -np.eye(n_x)
    sides, bound = -np.tile(data["b"], N), float(data["u_max"])
    h, a = casadi.sparsify(casadi.DM(H)), casadi.sparsify(casadi.DM(rows))
    solver = casadi.conic("solver", plugin, {"h": h.sparsity(), "a": a.sparsity()}, {"print_time": False, **options})
    free = np.concatenate([np.full(n_x, np.inf), np.full(n_u, bound)])
    upper = np.tile(free, N + 1)[:-n_u]

    def forward():
        found = []
        for x0 in data["x0"]:
            low, high = -upper, upper.copy()
            low[:n_x] = high[:n_x] = x0
            z = np.asarray(solver(h=h, g=0.0, a=a, lba=sides, uba=sides, lbx=low, ubx=high)["x"]).ravel()
            found.append(z[:-n_x].reshape(N, width)[:, n_x:])
        return {"u": np.stack(found)}

    return {"forward": forward}, {}
