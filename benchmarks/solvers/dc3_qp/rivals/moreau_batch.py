"""Moreau's compiled batch on the CPU; for a problem of this size its automatic choice is the active-set method.

Matrices that all instances share are set up once, outside the timed calls; unshared ones in each call.
"""

import moreau
import numpy as np


def _rows(n, m):
    return np.arange(0, n * m + 1, n), np.tile(np.arange(n), m)


def _solver(data, lanes, grad):
    n, equalities, inequalities = data["A"].shape[-1], data["A"].shape[-2], data["G"].shape[-2]
    settings = moreau.Settings(solver="active_set", device="cpu", batch_size=lanes, enable_grad=grad)
    cones = moreau.Cones(num_zero_cones=equalities, num_nonneg_cones=inequalities)
    offsets, columns = _rows(n, equalities + inequalities)
    return moreau.CompiledSolver(n, len(offsets) - 1, np.arange(n + 1), np.arange(n), offsets, columns, cones, settings)


def prepare(data):
    """Forward, backward of a stored forward (it always differentiates with respect to every array), and both."""
    lanes, shared = len(data["b"]), data["Q"].ndim == 2
    quadratic = np.ascontiguousarray(np.diagonal(data["Q"], axis1=-2, axis2=-1))
    rows = np.concatenate([data["A"], data["G"]], axis=-2)
    rows = rows.reshape(*rows.shape[:-2], -1)
    right = np.concatenate([data["b"], np.broadcast_to(data["h"], (lanes, data["h"].shape[-1]))], axis=1)
    equalities = data["A"].shape[-2]
    plain, differentiable = _solver(data, lanes, False), _solver(data, lanes, True)
    plain.setup(quadratic, rows)
    differentiable.setup(quadratic, rows)

    def run(solver):
        if not shared:
            solver.setup(quadratic, rows)
        return solver.solve(data["q"], right)

    def forward():
        solution = run(plain)
        return {"z": solution.x, "eq": solution.z[:, :equalities], "ineq": solution.z[:, equalities:]}

    def backward():
        slopes = differentiable.backward(data["weight"])
        return {"q": slopes["dq"], "b": slopes["db"][:, :equalities]}

    def both():
        run(differentiable)
        return backward()

    return {"forward": forward, "both": both, "backward": backward, "backward_all": backward}, {}
