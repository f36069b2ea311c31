"""Networks of nodes against dense matrices and loops; gates and pruning; what a fit of O6 can determine; errors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.metrics import identifiability, sensitivities
from sciml.systems import discretise, RK4
from sciml.systems.models import edges_of, Gates, NetworkODE, prune

PAIRS = np.array([(0, 1), (0, 2), (1, 2), (1, 3), (3, 4), (2, 4)])
C, R = np.array([5.0, 7.0, 4.0, 6.0, 3.0]), np.array([0.5, 0.3, 0.7, 0.4, 0.6, 0.2])
OUTSIDE = np.array([2.0, 1.0, 1.5, 1.2, 0.8])


def flow(R: Any, mine: Any, other: Any) -> Any:
    return (other - mine) / R


def room(p: Any, x: Any, s: Any, u: Any) -> Any:
    """Flows from the neighbours, from outside (`u[0]`) and from the heating (`u[1]`)."""
    return (s + (u[:1] - x) / p["outside"] + u[1:]) / p["C"]


def spread(u: Any) -> Any:
    return jnp.stack([jnp.broadcast_to(u[0], (5,)), u[1:]], axis=1)


def rooms(**options: Any) -> NetworkODE:
    return NetworkODE(
        room,
        flow,
        PAIRS[:, 0],
        PAIRS[:, 1],
        nodes=5,
        node_parameters={"C": C, "outside": OUTSIDE},
        edge_parameters=R,
        scatter=spread,
        is_undirected=True,
        **options,
    )


def dense(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`A` and `B` of five rooms, written entry by entry."""
    A, B = np.zeros((5, 5)), np.zeros((5, 6))
    for (i, j), r, w in zip(PAIRS, R, weights, strict=True):
        A[i, j] += w / r
        A[j, i] += w / r
        A[i, i] -= w / r
        A[j, j] -= w / r
    A -= np.diag(1 / OUTSIDE)
    B[:, 0], B[:, 1:] = 1 / OUTSIDE, np.eye(5)
    return A / C[:, None], B / C[:, None]


def test_an_undirected_network_is_its_dense_matrix():
    A, B = dense(np.ones(6))
    x, u = jr.normal(jr.key(0), (5,)), jr.normal(jr.key(1), (6,))
    np.testing.assert_allclose(rooms().vector_field(0.0, x, u), A @ x + B @ u, atol=1e-13)
    np.testing.assert_allclose(jax.jacfwd(rooms().vector_field, 1)(0.0, x, u), A, atol=1e-13)


def test_gates_weight_the_edges_and_pruning_changes_nothing():
    logits = np.array([-5.0, 0.0, 5.0, 1.0, -2.5, 2.0])
    gates = Gates(logits)
    weights = np.clip(1.2 / (1 + np.exp(-logits)) - 0.1, 0, 1)
    np.testing.assert_allclose(gates.value(), weights, atol=1e-15)
    assert weights[0] == weights[4] == 0.0 and weights[2] == 1.0
    A, B = dense(weights)
    x, u, network = jr.normal(jr.key(0), (5,)), jr.normal(jr.key(1), (6,)), rooms(gates=gates)
    np.testing.assert_allclose(network.vector_field(0.0, x, u), A @ x + B @ u, atol=1e-13)
    small = prune(network)
    assert small.senders.shape == (4,) and small.edge_parameters.shape == (4,)
    np.testing.assert_allclose(small.vector_field(0.0, x, u), network.vector_field(0.0, x, u), atol=1e-15)
    slope = jax.grad(lambda g: g.density())(gates).logits
    assert np.all(slope > 0) and 0 < gates.density() < 1


def test_a_directed_network_of_two_states_against_a_loop():
    """Vicsek-like swarm with shared networks; additive and compositional nodes."""
    keys = jr.split(jr.key(4), 2)
    own, pair = (
        eqx.nn.MLP(n, 2, width_size=5, depth=1, activation=jnp.tanh, key=k) for n, k in zip((2, 4), keys, strict=True)
    )
    adjacency = np.array([[0, 1, 0], [1, 0, 1], [1, 0, 0]])
    senders, receivers = edges_of(adjacency)
    x = jr.normal(jr.key(5), (6,))
    edge = lambda q, mine, other: pair(jnp.concatenate([mine, other]))
    for node, expected in (
        (lambda p, x, s, u: own(x) + s, lambda x, s: own(x) + s),
        (lambda p, x, s, u: own(s), lambda x, s: own(s)),
    ):
        network = NetworkODE(node, edge, senders, receivers, nodes=3)
        states = x.reshape(3, 2)
        for i in range(3):
            total = sum((edge(None, states[i], states[j]) for j in range(3) if adjacency[i, j]), jnp.zeros(2))
            rate = network.vector_field(0.0, x, None).reshape(3, 2)[i]
            np.testing.assert_allclose(rate, expected(states[i], total), atol=1e-13)


def test_edges_of_a_matrix():
    senders, receivers = edges_of(np.ones((3, 3)))
    assert sorted(zip(senders.tolist(), receivers.tolist(), strict=True)) == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)
    ]  # fmt: skip
    senders, receivers = edges_of(np.ones((3, 3)), is_undirected=True)
    assert sorted(zip(senders.tolist(), receivers.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]


def test_a_fit_of_temperatures_determines_products_only():
    """NeuroMANCER's network example fits `C` and `R` from temperatures alone: one factor is free."""

    def coupled(C: Any, x: Any, s: Any, u: Any) -> Any:
        return s / C

    model = NetworkODE(
        coupled, flow, PAIRS[:, 0], PAIRS[:, 1], nodes=5, node_parameters=C, edge_parameters=R, is_undirected=True
    )
    states = jr.normal(jr.key(0), (12, 5))

    def residuals(model: NetworkODE) -> Any:
        plant = discretise(model, RK4(), dt=0.3)
        return jax.vmap(lambda x: plant.step(0.0, x, None))(states)

    report = identifiability(model, jacobian=eqx.filter_jit(sensitivities)(residuals, model))
    (direction,) = report.directions
    assert len(direction.names) == 11 and "node_parameters[0]" in direction.names
    assert np.isinf(direction.collinearity) and "only the products of" in report.warning
    # A known capacity removes the freedom.
    fixed = eqx.tree_at(lambda m: m.node_parameters, model, None)
    free = lambda m: residuals(eqx.tree_at(lambda m: m.node_parameters, m, jnp.asarray(C), is_leaf=lambda x: x is None))
    assert identifiability(fixed, jacobian=sensitivities(free, fixed)).warning == ""


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: NetworkODE(room, flow, [0, 1], [1], nodes=2), "`senders, receivers`: got shapes"),
        (lambda: NetworkODE(room, flow, [0], [2], nodes=2), r"`receivers`: got \[2\]; expected integers in 0 ... 1"),
        (lambda: NetworkODE(room, flow, [0.5], [1], nodes=2), "`senders`: got"),
        (lambda: NetworkODE(room, flow, [0], [1], nodes=2, node_parameters=C), "`node_parameters`: got leading axes"),
        (lambda: NetworkODE(room, flow, [0], [1], nodes=2, edge_parameters=R), "`edge_parameters`: got leading axes"),
        (lambda: NetworkODE(room, flow, [0], [1], nodes=2, gates=Gates(R)), "`gates`: got leading axes"),
        (lambda: edges_of(np.ones((2, 3))), r"`adjacency`: got shape \(2, 3\)"),
        (lambda: edges_of(np.array([[0, 1], [0, 0]]), is_undirected=True), "`adjacency`: got a matrix that is not sym"),
        (lambda: prune(rooms()), "`network`: got no gates"),
    ],
)
def test_bad_input_is_named(unchecked, call, match):
    with pytest.raises(ValueError, match=match):
        call()
