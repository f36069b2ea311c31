"""Which entries of a multiple-shooting decision meet: only those of one stage, and of neighbours in the dynamics."""

from typing import Any

import jax.tree_util as jtu
import numpy as np

from ..core import tree_size
from ._structure import Structure


def stage_structure(z: Any, g: Any, h: Any) -> Structure:
    """The structure of a transcribed optimal-control problem.

    Stages meet in the dynamics with their neighbours only, in costs and limits only with themselves. Neighbouring
    stages get different groups (two colours), the entries of one stage each their own.

    Args:
        z: the decision, `x` at the stages 1 ... N and `u` at the stages 0 ... N-1.
        g: `(path, terminal)` inequalities, path limits at the stages 0 ... N-1; an empty tuple for none.
        h: `(defects, terminal)` equalities; the defect `k` joins the stages `k` and `k + 1`.
    """
    horizon = jtu.tree_leaves(z.u)[0].shape[0]
    stage = np.concatenate([_labels(z.x, horizon, 1), _labels(z.u, horizon, 0)])
    place = np.zeros_like(stage)
    for k in range(horizon + 1):
        place[stage == k] = np.arange(np.sum(stage == k))
    width = int(place.max()) + 1
    path, terminal = g if len(g) == 2 else ((), ())
    defects, end = h
    rows_g = np.concatenate([_labels(path, horizon, 0), np.full(tree_size(terminal), horizon)])
    rows_h = np.concatenate([_labels(defects, horizon, 0), np.full(tree_size(end), horizon)])
    return Structure(
        groups=(stage % 2) * width + place,
        ineq=rows_g[:, None] == stage,
        eq=(rows_h[:, None] <= stage) & (stage <= rows_h[:, None] + 1),
        hessian=stage[:, None] == stage,
        n_groups=2 * width,
    )


def _labels(tree: Any, horizon: int, first: int) -> np.ndarray:
    """The stage of every entry of leaves with leading axis `horizon`, as they are flattened."""
    leaves = [np.repeat(np.arange(horizon) + first, leaf.size // horizon) for leaf in jtu.tree_leaves(tree)]
    return np.concatenate([*leaves, np.zeros(0, int)])
