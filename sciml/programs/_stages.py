"""A multiple-shooting program by stages: the layout of its vectors, and the functions of one stage."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Scalar

from ._vectors import as_it_is


class Stages(eqx.Module):
    """The layout of the vectors of a transcribed optimal-control problem.

    The decision holds the states 1 ... N and then the inputs 0 ... N-1; inequalities the path limits of the stages
    0 ... N-1 and then terminal ones; equalities the defects `x_{k+1} - next_k` and then terminal ones.
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
        """The number of entries of a state."""
        return sum(self.x_sizes)

    @property
    def nu(self) -> int:
        """The number of entries of an input."""
        return sum(self.u_sizes)

    @property
    def width(self) -> int:
        """The number of entries of a stage."""
        return self.nx + self.nu

    @property
    def n_path(self) -> int:
        """The number of path limits of all stages; terminal inequalities follow them."""
        return self.horizon * sum(self.path_sizes)

    def split(self, v: Array) -> tuple[Array, Array]:
        """The states 1 ... N, `(N, nx)`, and the inputs, `(N, nu)`, of a decision."""
        n = self.horizon * self.nx
        return by_stage(v[..., :n], self.horizon, self.x_sizes), by_stage(v[..., n:], self.horizon, self.u_sizes)

    def join(self, x: Array, u: Array) -> Array:
        """The decision, from the states 1 ... N and the inputs."""
        return jnp.concatenate([by_leaf(x, self.x_sizes), by_leaf(u, self.u_sizes)])


def _as_they_are(x: Array, u: Array, w: Any) -> tuple[Array, Array, Any]:
    return x, u, w


class Staged(eqx.Module):
    """An optimal-control program over vectors, stage by stage; solvers differentiate one stage at a time.

    f = Σ_k cost_k + cost_N,   g = (path limits of every stage, terminal),   h = (x_{k+1} - next_k, terminal)
    """

    stages: Stages
    stage: Callable[[Array, Array, Any, Any], tuple[Scalar, Array, Array]]
    """`(x_k, u_k, w_k, p) -> (cost_k, path limits, next_k)`."""
    terminal: Callable[[Array, Any], tuple[Scalar, Array, Array]]
    """`(x_N, p) -> (cost_N, inequalities, equalities)`."""
    given: Callable[[Any], tuple[Array, Any]]
    """`p -> (x_0, w)`, with signals `w` of leading axis `N`, or None."""
    arguments: Callable[[Array, Array, Any], tuple[Any, Any, Any]] = eqx.field(static=True, default=_as_they_are)
    """`(x_k, u_k, w_k)` of `stage` in the user's structures."""
    state: Callable[[Array], Any] = eqx.field(static=True, default=as_it_is)
    """A state in the user's structure."""

    def closed(self, p: Any) -> "Staged":
        """This program with the arrays that its functions capture made explicit."""
        x, w = jax.eval_shape(self.given, p)
        w = jtu.tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), w)
        u = jax.ShapeDtypeStruct((self.stages.nu,), x.dtype)
        convert = eqx.filter_closure_convert
        stage, terminal = convert(self.stage, x, u, w, p), convert(self.terminal, x, p)
        return Staged(self.stages, stage, terminal, convert(self.given, p), self.arguments, self.state)


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
