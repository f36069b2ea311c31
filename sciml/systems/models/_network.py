"""Networks of coupled nodes, by segment sums over the edges."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Scalar

from sciml.core import as_floats, invalid

from .._abstract import AbstractContinuousSystem

# The gate is a logistic function stretched to this interval and cut off at 0 and 1: it is 0 and 1 on sets of its
# parameter that are not empty. These are the values of the source below.
_STRETCH = (-0.1, 1.1)
_TEMPERATURE = 2.0 / 3.0


class Gates(eqx.Module):
    """A weight in [0, 1] for each edge, which training can close: `clip(1.2 σ(logit) - 0.1, 0, 1)`.

    A gate is exactly 0 below a logit of -2.4 and exactly 1 above 2.4. Start in between (0 is half open), and add
    `weight * density()` to the loss.

    Source: Louizos, Welling & Kingma (2018), Learning sparse neural networks through L0 regularization,
    arXiv:1712.01312, equations (11) to (13): the hard concrete gate, here without its noise.
    """

    logits: Float[Array, " edge"]

    def __init__(self, logits: ArrayLike):
        """One logit per edge."""
        self.logits = as_floats(logits, "logits")

    def value(self) -> Float[Array, " edge"]:
        """The weights.

        Gradient: zero for gates that are closed or wide open; `density` moves them all the same.
        """
        low, high = _STRETCH
        return jnp.clip((high - low) * jax.nn.sigmoid(self.logits) + low, 0.0, 1.0)

    def density(self) -> Scalar:
        """A smooth count of the edges in use, over the number of edges; to be penalised.

        Gradient: positive everywhere, so that gates that the data do not hold open close.
        """
        low, high = _STRETCH
        return jnp.mean(jax.nn.sigmoid(self.logits - _TEMPERATURE * jnp.log(-low / high)))


class NetworkODE(AbstractContinuousSystem):
    """Coupled nodes: `dx_i/dt = node(p_i, x_i, s_i, u_i)`, with `s_i = Σ_j edge(q_ij, x_i, x_j)` over the edges to `i`.

    The node function decides how the coupling enters: `lambda p, x, s, u: f(x, u) + s` is the additive model, and
    `lambda p, x, s, u: f(s)` or `s / p` the compositional one. The cost grows with the number of edges, not with the
    square of the number of nodes, and nothing is compiled per edge.

    Examples:
        ```python
        from sciml.systems.models import NetworkODE

        rooms = NetworkODE(
            node=lambda C, x, s, u: s / C,  # heat flows over capacities
            edge=lambda R, mine, other: (other - mine) / R,
            senders=[0, 1], receivers=[1, 2], nodes=3, is_undirected=True,
            node_parameters=jnp.array([1.0, 2.0, 1.0]), edge_parameters=jnp.array([0.5, 0.5]),
        )
        rate = rooms.vector_field(0.0, jnp.array([1.0, 0.0, 0.0]), None)
        assert jnp.allclose(rate, jnp.array([-2.0, 1.0, 0.0]))
        ```
    """

    node: Callable[..., Any]
    edge: Callable[..., Any]
    senders: Int[Array, " edge"]
    receivers: Int[Array, " edge"]
    node_parameters: Any
    edge_parameters: Any
    gates: Gates | None
    scatter: Callable[..., Any] | None
    nodes: int = eqx.field(static=True)
    is_undirected: bool = eqx.field(static=True)

    def __init__(
        self,
        node: Callable[..., Any],
        edge: Callable[..., Any],
        senders: Any,
        receivers: Any,
        *,
        nodes: int,
        node_parameters: Any = None,
        edge_parameters: Any = None,
        gates: Gates | None = None,
        scatter: Callable[..., Any] | None = None,
        is_undirected: bool = False,
    ):
        """Functions of one node and one edge, and who is connected to whom.

        Args:
            node: `(p, x, s, u) -> dx/dt` of one node: its parameters, its state `(states,)`, the sum of its edges'
                messages, its input (None without). Plain functions and modules alike; what is an array in them is
                shared by all nodes.
            edge: `(q, x, x_other) -> message` to the node with state `x` from the one with `x_other`, `(messages,)`.
            senders: the node that each edge comes from, integers in `0 ... nodes - 1`; `edges_of` makes both from an
                adjacency matrix.
            receivers: the node that each edge goes to.
            nodes: how many; the state is that of node 0, then that of node 1, and so on.
            node_parameters: `p`, a pytree of arrays with leading axis node, or None.
            edge_parameters: `q`, a pytree of arrays with leading axis edge, or None.
            gates: weights of the messages to be learned, one per edge, or None.
            scatter: `u -> inputs of the nodes`, a pytree with leading axis node; by default `u` in equal parts.
            is_undirected: whether each edge stands for both directions, with the same parameters: the receiver gets
                `edge(q, x_receiver, x_sender)` and the sender `edge(q, x_sender, x_receiver)`.

        Raises:
            ValueError: nodes that do not exist, or parameters and gates of another length.
        """
        senders, receivers = np.asarray(senders), np.asarray(receivers)
        if senders.ndim != 1 or senders.shape != receivers.shape:
            got = f"shapes {senders.shape} and {receivers.shape}"
            raise invalid("senders, receivers", got, "one of each per edge", "use `edges_of(adjacency)`")
        for name, ends in (("senders", senders), ("receivers", receivers)):
            if ends.size and not (np.issubdtype(ends.dtype, np.integer) and 0 <= ends.min() <= ends.max() < nodes):
                raise invalid(name, ends, f"integers in 0 ... {nodes - 1}", "count the nodes from 0")
        for name, tree, count in (
            ("node_parameters", node_parameters, nodes),
            ("edge_parameters", edge_parameters, senders.size),
            ("gates", gates, senders.size),
        ):
            lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree) if eqx.is_array_like(leaf)}
            if lengths - {(count,)}:
                got, fix = f"leading axes {sorted(lengths)}", "give one entry for each; share by closing over a value"
                raise invalid(name, got, f"({count},)", fix)
        self.node, self.edge, self.nodes, self.is_undirected = node, edge, nodes, is_undirected
        self.senders, self.receivers = jnp.asarray(senders, jnp.int32), jnp.asarray(receivers, jnp.int32)
        as_arrays = lambda tree: jax.tree.map(lambda x: jnp.asarray(x) if eqx.is_array_like(x) else x, tree)
        self.node_parameters, self.edge_parameters = as_arrays(node_parameters), as_arrays(edge_parameters)
        self.gates, self.scatter = gates, scatter

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Any) -> Float[Array, " x"]:
        """The state derivatives, node after node."""
        states = x.reshape(self.nodes, -1)
        if u is None:
            inputs = None
        else:
            inputs = u.reshape(self.nodes, -1) if self.scatter is None else self.scatter(u)
        return jax.vmap(self.node)(self.node_parameters, states, self._sums(states), inputs).reshape(x.shape)

    def _sums(self, states: Float[Array, "node _"]) -> Float[Array, "node _"]:
        """The sum of the messages to each node."""
        to, other = states[self.receivers], states[self.senders]
        messages, ends = jax.vmap(self.edge)(self.edge_parameters, to, other), self.receivers
        weights = None if self.gates is None else self.gates.value()
        if self.is_undirected:
            back = jax.vmap(self.edge)(self.edge_parameters, other, to)
            messages, ends = jnp.concatenate([messages, back]), jnp.concatenate([ends, self.senders])
            weights = None if weights is None else jnp.concatenate([weights, weights])
        messages = messages.reshape(messages.shape[0], -1)
        if weights is not None:
            messages = weights[:, None] * messages
        return jax.ops.segment_sum(messages, ends, num_segments=self.nodes)


def edges_of(adjacency: ArrayLike, *, is_undirected: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers of the edges of an adjacency matrix: from `j` to `i` for each `adjacency[i, j] != 0`.

    Args:
        adjacency: square; `np.ones((n, n))` connects all, to be thinned by `Gates`. The diagonal is left out.
        is_undirected: list each pair once, for `NetworkODE(..., is_undirected=True)`; the matrix must be symmetric.

    Returns:
        Two integer arrays on the host.

    Raises:
        ValueError: a matrix that is not square, or not symmetric although `is_undirected`.
    """
    matrix = np.asarray(adjacency) != 0
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise invalid("adjacency", f"shape {matrix.shape}", "a square matrix", "give one row and column per node")
    if is_undirected and not np.array_equal(matrix, matrix.T):
        fix = "leave out `is_undirected`, or make both directions edges"
        raise invalid("adjacency", "a matrix that is not symmetric", "a symmetric one", fix)
    matrix = np.tril(matrix, -1) if is_undirected else matrix & ~np.eye(matrix.shape[0], dtype=bool)
    receivers, senders = np.nonzero(matrix)
    return senders, receivers


def prune(network: NetworkODE) -> NetworkODE:
    """The same network without the edges whose gates are closed. Not for use inside `jit`.

    Raises:
        ValueError: a network without gates.
    """
    if network.gates is None:
        raise invalid("network", "no gates", "a network with gates", "give `gates=Gates(jnp.zeros(edges))`")
    open_ = np.flatnonzero(np.asarray(network.gates.value()) > 0)
    part = lambda tree: jax.tree.map(lambda leaf: leaf[open_], tree)
    fields = lambda n: (n.senders, n.receivers, n.edge_parameters, n.gates)
    return eqx.tree_at(fields, network, tuple(part(f) for f in fields(network)), is_leaf=lambda x: x is None)
