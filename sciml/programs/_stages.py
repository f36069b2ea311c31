"""Which entries of a multiple-shooting decision meet: only those of one stage, and of neighbours in the dynamics."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from ..core import tree_size


class Stages(eqx.Module):
    """Where the entries of a transcribed optimal-control problem stand in its vectors.

    The decision holds the states 1 ... N and then the inputs 0 ... N-1. Stages meet in the dynamics with their
    neighbours only, in costs and limits only with themselves, so that two colours serve: one directional derivative
    along an entry of all even stages at once holds the columns of every one of them.

    Source: Curtis, Powell & Reid (1974), On the estimation of sparse Jacobian matrices, DOI 10.1093/imamat/13.1.117.
    """

    horizon: int = eqx.field(static=True)
    x_sizes: tuple[int, ...] = eqx.field(static=True)
    """Entries of one stage in each leaf of the states."""
    u_sizes: tuple[int, ...] = eqx.field(static=True)
    path_sizes: tuple[int, ...] = eqx.field(static=True)
    n_terminal_ineq: int = eqx.field(static=True)
    n_terminal_eq: int = eqx.field(static=True)

    @property
    def nx(self) -> int:
        """Entries of a state."""
        return sum(self.x_sizes)

    @property
    def nu(self) -> int:
        """Entries of an input."""
        return sum(self.u_sizes)

    @property
    def width(self) -> int:
        """Entries of a stage."""
        return self.nx + self.nu

    @property
    def n_path(self) -> int:
        """Path limits of all stages together; terminal inequalities follow them."""
        return self.horizon * sum(self.path_sizes)

    def split(self, v: Array) -> tuple[Array, Array]:
        """States 1 ... N, `(N, nx)`, and inputs, `(N, nu)`, of a decision."""
        n = self.horizon * self.nx
        return by_stage(v[..., :n], self.horizon, self.x_sizes), by_stage(v[..., n:], self.horizon, self.u_sizes)

    def join(self, x: Array, u: Array) -> Array:
        """The decision of states 1 ... N and inputs."""
        return jnp.concatenate([by_leaf(x, self.x_sizes), by_leaf(u, self.u_sizes)])

    @property
    def groups(self) -> np.ndarray:
        """The group, one of `2 width`, of every entry of the decision: colour of the stage, place in the stage."""
        steps = np.arange(self.horizon)[:, None]
        x = (steps + 1) % 2 * self.width + np.arange(self.nx)
        u = steps % 2 * self.width + self.nx + np.arange(self.nu)
        cut = lambda block, sizes: [part.ravel() for part in np.split(block, np.cumsum(sizes)[:-1], axis=1)]
        return np.concatenate(cut(x, self.x_sizes) + cut(u, self.u_sizes))


def stage_structure(z: Any, g: Any, h: Any) -> Stages:
    """The structure of a transcribed optimal-control problem.

    Args:
        z: the decision, `x` at the stages 1 ... N and `u` at the stages 0 ... N-1.
        g: `(path, terminal)` inequalities, path limits at the stages 0 ... N-1; an empty tuple for none.
        h: `(defects, terminal)` equalities; the defect `k` joins the stages `k` and `k + 1`.
    """
    horizon = jtu.tree_leaves(z.u)[0].shape[0]
    sizes = lambda tree: tuple(leaf.size // horizon for leaf in jtu.tree_leaves(tree))
    path, terminal = g if len(g) == 2 else ((), ())
    return Stages(horizon, sizes(z.x), sizes(z.u), sizes(path), tree_size(terminal), tree_size(h[1]))


def by_stage(v: Array, horizon: int, sizes: tuple[int, ...]) -> Array:
    """`(..., N, n)` from flattened leaves with leading axis `N` and `sizes` entries a stage."""
    parts, first = [], 0
    for size in sizes:
        parts.append(v[..., first : first + horizon * size].reshape(*v.shape[:-1], horizon, size))
        first += horizon * size
    return jnp.concatenate(parts, axis=-1) if parts else jnp.zeros((*v.shape[:-1], horizon, 0), v.dtype)


def by_leaf(block: Array, sizes: tuple[int, ...]) -> Array:
    """Flattened leaves from `(N, n)`."""
    ends = np.cumsum(sizes)[:-1]
    return jnp.concatenate([part.ravel() for part in jnp.split(block, ends, axis=1)]) if sizes else block.ravel()
