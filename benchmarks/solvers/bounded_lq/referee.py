"""The outside referee: exact solutions and derivatives from dense KKT systems in float64 NumPy.

Eliminating the states would square the instability of the open loop: the systems keep states, inputs and multipliers.
Active sets are found by a primal-dual iteration from the answer that is judged; the programs are strictly convex, so a
set whose solution obeys all optimality conditions is the only one.

Source: Hintermüller, Ito & Kunisch (2002), The primal-dual active set strategy as a semismooth Newton method,
DOI 10.1137/S1052623401383558.
"""

import numpy as np

Arrays = dict[str, np.ndarray]
_MOST = 30  # active sets tried for an instance


class System:
    """The KKT matrix over states 1 ... N, inputs and multipliers of `x_{k+1} - A x_k - B u_k - b`."""

    def __init__(self, data: Arrays, steps: int):
        self.data, self.steps = data, steps
        self.n_x, self.n_u = data["B"].shape
        n_x, n_u = self.n_x, self.n_u
        total_x, total_u = steps * n_x, steps * n_u
        self.at_u = slice(total_x, total_x + total_u)
        H, eye = 0.5 * (data["H"] + data["H"].T), np.eye(steps)
        self.cross = H[n_x:, :n_x]
        before = np.eye(steps, k=-1)  # the state 1 ... N that a step starts from
        top = np.block([
            [np.kron(eye, H[:n_x, :n_x]), np.kron(before.T, H[:n_x, n_x:])],
            [np.kron(before, H[n_x:, :n_x]), np.kron(eye, H[n_x:, n_x:])],
        ])  # fmt: skip
        rows = np.hstack([np.eye(total_x) - np.kron(before, data["A"]), -np.kron(eye, data["B"])])
        self.matrix = np.block([[top, rows.T], [rows, np.zeros((total_x, total_x))]])
        self.right = np.zeros(len(self.matrix))
        self.right[self.at_u.stop :] = np.tile(data["b"], steps)

    def pinned(self, i: int, fixed: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and right-hand side of instance `i` with the inputs `fixed` at `value`."""
        matrix, right = self.matrix.copy(), self.right.copy()
        right[self.at_u.start : self.at_u.start + self.n_u] -= self.cross @ self.data["x0"][i]
        right[self.at_u.stop : self.at_u.stop + self.n_x] += self.data["A"] @ self.data["x0"][i]
        places = np.flatnonzero(fixed) + self.at_u.start
        matrix[places] = 0.0
        matrix[places, places] = 1.0
        right[places] = value[fixed]
        return matrix, right

    def slope(self, i: int, v: np.ndarray) -> np.ndarray:
        """The derivative of the Lagrangian with respect to the inputs."""
        matrix, right = self.pinned(i, np.zeros(self.steps * self.n_u, bool), np.zeros(self.steps * self.n_u))
        return (matrix @ v - right)[self.at_u]

    def parts(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States, inputs and multipliers."""
        x, u, nu = np.split(v, [self.at_u.start, self.at_u.stop])
        return x.reshape(-1, self.n_x), u.reshape(-1, self.n_u), nu.reshape(-1, self.n_x)


def exact(data: Arrays, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact solutions `(batch, KKT size)` from the guess `u`, and which inputs the bounds fix; NaN if not found."""
    system, bound = System(data, u.shape[1]), float(data["u_max"])
    found = np.full((len(u), len(system.matrix)), np.nan)
    sets = np.zeros((len(u), u[0].size), bool)
    for i, guess in enumerate(u.reshape(len(u), -1)):
        side = np.where(np.abs(guess) >= bound * (1 - 1e-4), np.sign(guess), 0.0)
        for _ in range(_MOST):
            v = np.linalg.solve(*system.pinned(i, side != 0, side * bound))
            slope, inputs = system.slope(i, v), v[system.at_u]
            keep = np.where(slope * side <= 0.0, side, 0.0)
            new = np.where(side != 0, keep, np.where(np.abs(inputs) > bound, np.sign(inputs), 0.0))
            if np.array_equal(new, side):
                found[i], sets[i] = v, side != 0
                break
            side = new
    return found, sets


def errors(data: Arrays, u: np.ndarray, solutions: np.ndarray) -> np.ndarray:
    """The largest error of an input of each instance; infinite where it is not a number."""
    system = System(data, u.shape[1])
    difference = np.max(np.abs(u.reshape(len(u), -1) - solutions[:, system.at_u]), axis=1)
    return np.where(np.isfinite(difference), difference, np.inf)


def objective(data: Arrays, u: np.ndarray) -> np.ndarray:
    """The cost of every instance, its states simulated from the inputs."""
    n_x = data["A"].shape[0]
    x, total = data["x0"], np.zeros(len(u))
    for k in range(u.shape[1]):
        z = np.concatenate([x, u[:, k]], axis=1)
        total += 0.5 * np.sum(z * (z @ data["H"]), axis=1)
        x = x @ data["A"].T + u[:, k] @ data["B"].T + data["b"]
    return total + 0.5 * np.sum(x * (x @ data["H"][:n_x, :n_x]), axis=1)


def sensitivities(data: Arrays, solutions: np.ndarray, sets: np.ndarray) -> Arrays:
    """Derivatives of the sum of all first inputs with respect to A, B, b and H, at exact solutions.

    With the KKT equations `F(v, θ) = 0` of an active set and `Kᵀ y` the unit weights of the first inputs, they are
    `-yᵀ ∂F/∂θ`, summed over the instances.
    """
    n_x, n_u = data["B"].shape
    steps = sets.shape[1] // n_u
    system, total = System(data, steps), {name: np.zeros_like(data[name]) for name in ("A", "B", "b", "H")}
    weight = np.zeros(len(system.matrix))
    weight[system.at_u.start : system.at_u.start + n_u] = 1.0
    for i, v in enumerate(solutions):
        matrix, _ = system.pinned(i, sets[i], np.zeros_like(v[system.at_u]))
        y = np.linalg.solve(matrix.T, weight)
        y[system.at_u][sets[i]] = 0.0  # what a bound fixes does not depend on them
        (x, u, nu), (by_x, by_u, by_nu) = system.parts(v), system.parts(y)
        before = np.concatenate([data["x0"][i][None], x[:-1]])
        by_before = np.concatenate([np.zeros((1, n_x)), by_x[:-1]])
        z, by_z = np.concatenate([before, u], axis=1), np.concatenate([by_before, by_u], axis=1)
        total["A"] += nu.T @ by_before + by_nu.T @ before
        total["B"] += nu.T @ by_u + by_nu.T @ u
        total["b"] += np.sum(by_nu, axis=0)
        cost = by_z.T @ z
        cost[:n_x, :n_x] += np.outer(by_x[-1], x[-1])
        total["H"] -= 0.5 * (cost + cost.T)
    return total
