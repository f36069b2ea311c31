"""The registries of solvers and programs that laws are about, and one compiled batch for each pair of the two."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from sciml.core import RESULTS
from sciml.programs import FlatProgram, OptimalControl, Program, QuadraticProgram, Shooting, transcribe
from sciml.solvers import (
    AbstractSolver,
    ADMM,
    AugmentedLagrangian,
    BoxNewton,
    InteriorPoint,
    InteriorPointQP,
    Point,
    Race,
    solve,
    SQP,
)

STEP = 1e-4  # with solutions to 1e-11, central differences have errors of 1e-7


class Member(NamedTuple):
    program: Any
    z0: Any
    ps: np.ndarray
    """Instances as vectors; strictly complementary, which a test checks."""


def quadratic_data(seed: int, n: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    root, A, G = rng.normal(size=(n, n)), rng.normal(size=(1, n)), rng.normal(size=(2, n))
    Q, q = root @ root.T + 0.5 * np.eye(n), 3 * rng.normal(size=n)
    return Q, q, A, 0.1 * rng.normal(size=1), G, np.full(2, 0.1), -np.ones(n), np.full(n, 0.3)


def free(dtype: Any) -> Member:
    program = Program(lambda z, p: (p[1] - z[0]) ** 2 + p[0] * (z[1] - z[0] ** 2) ** 2 + 0.1 * z[1])
    return Member(program, np.array([-0.5, 0.5]), np.array([[1.0, 1.0], [20.0, 1.5]]))


def mixed(dtype: Any) -> Member:
    """A curved valley in a disc, an equality, and a bound that is active in the second instance."""
    program = Program(
        lambda z, p: (1 - z[0]) ** 2 + p[0] * (z[1] - z[0] ** 2) ** 2 + 0.1 * z[2],
        ineq=lambda z, p: {"disc": jnp.sum(z[:2] ** 2) - p[1]},
        eq=lambda z, p: z[2] - p[2] * z[0] * z[1],
        upper=lambda p: jnp.stack([p[3], jnp.full_like(p[3], jnp.inf), jnp.full_like(p[3], jnp.inf)]),
    )
    return Member(program, np.array([0.2, 0.1, 0.0]), np.array([[3.0, 1.0, 0.5, 5.0], [3.0, 5.0, 0.5, 0.5]]))


def in_p(dtype: Any) -> Member:
    """A quadratic program with every block from the instance; `Q` by its diagonal and `A` by a factor."""
    Q, _, A, *_ = quadratic_data(0)
    part = lambda i: lambda p: jnp.split(p, np.cumsum([4, 4, 1, 2, 8]))[i]
    program = QuadraticProgram(
        lambda p: jnp.asarray(Q, p.dtype) + jnp.diag(part(0)(p)),
        part(1),
        lambda p: jnp.asarray(A, p.dtype) * (1.0 + part(2)(p)),
        part(2),
        lambda p: part(4)(p).reshape(2, 4),
        part(3),
        -1.0,
        lambda p: 0.3 + 0 * part(1)(p),
    )
    one = lambda _, q, A, b, G, h, *limits: np.concatenate([np.zeros(4), q, b, h, G.ravel()])
    return Member(program, np.zeros(4), np.stack([one(*quadratic_data(0)), one(*quadratic_data(1))]))


def shared(dtype: Any) -> Member:
    """A quadratic program with matrices that all instances share, and vectors that they do not."""
    Q, q, A, b, G, h, *_ = quadratic_data(2)
    given = lambda values: jnp.asarray(values, dtype)
    upper = lambda p: 0.3 + jnp.full(4, p[7])
    program = QuadraticProgram(
        given(Q), lambda p: p[:4], given(A), lambda p: p[4:5], given(G), lambda p: p[5:7], -1.0, upper
    )
    return Member(program, np.zeros(4), np.stack([np.r_[q, b, h, 0.0], np.r_[0.8 * q, b, h, 0.1]]))


def boxed(dtype: Any) -> Member:
    """A quadratic program with bounds only, some of which are active."""
    Q, q, *_ = quadratic_data(3)
    part = lambda i: lambda p: p[4 * i : 4 * i + 4]
    program = QuadraticProgram(lambda p: jnp.asarray(Q, p.dtype), part(0), lower=part(1), upper=part(2))
    return Member(program, np.zeros(4), np.stack([np.r_[q, -np.ones(4), np.full(4, u)] for u in (0.3, 0.6)]))


def control(dtype: Any) -> Member:
    """A pendulum to be raised; its input is limited in the first instance, its angle in the second."""
    problem = OptimalControl(
        lambda x, u, w, p: x + 0.3 * jnp.stack([x[1], u[0] - jnp.sin(x[0])]),
        stage=lambda x, u, w, p: (x[0] - p[2]) ** 2 + 0.1 * x[1] ** 2 + 0.1 * u[0] ** 2,
        initial=lambda p: p[:2],
        horizon=3,
        path=lambda x, u, w, p: u[0] - p[3],
        x_upper=lambda p: jnp.stack([p[4], jnp.full_like(p[4], jnp.inf)]),
    )
    z0 = Shooting(np.zeros((3, 2)), np.zeros((3, 1)))
    return Member(transcribe(problem), z0, np.array([[0.2, 0.1, 1.0, 0.8, 3.0], [0.1, 0.8, 1.0, 3.0, 0.45]]))


PROGRAMS: dict[str, Callable[[Any], Member]] = {
    "free": free, "mixed": mixed, "control": control, "in p": in_p, "shared": shared, "boxed": boxed,
}  # fmt: skip
GENERAL, QUICK = InteriorPoint(tol=1e-11), InteriorPointQP(tol=1e-11)
SOLVERS: dict[AbstractSolver, list[str]] = {
    GENERAL: ["free", "mixed", "control", "in p"],
    QUICK: ["in p", "shared"],
    ADMM(tol=1e-11): ["in p", "shared"],
    BoxNewton(tol=1e-11): ["boxed"],
    SQP(tol=1e-11): ["mixed"],
    AugmentedLagrangian(tol=1e-11): ["mixed", "control"],
    Race(GENERAL): ["free"],  # without a rival it runs what its solver runs
}
"""Every public solver, and the programs that it is for. In float64; in float32 solvers have their own tolerances."""

PAIRS = [(solver, name) for solver, names in SOLVERS.items() for name in names]


def pairs(*quick: tuple[str, str]) -> pytest.MarkDecorator:
    """A parametrisation over all pairs, of which those not named are slow: they would compile something of their own.

    Without names only optimal control is slow, which takes longest to compile.
    """
    params = []
    for solver, name in PAIRS:
        kind = type(solver).__name__
        slow = (kind, name) not in quick if quick else name == "control"
        params.append(pytest.param(solver, name, marks=pytest.mark.slow if slow else (), id=f"{kind}-{name}"))
    return pytest.mark.parametrize(("solver", "name"), params)


@cache
def member(name: str, dtype: Any) -> Member:
    return PROGRAMS[name](dtype)


def alone(solver: AbstractSolver, chosen: Member, p: Array, **options: Any) -> Any:
    z0 = jax.tree.map(lambda v: jnp.asarray(v, p.dtype), chosen.z0)
    return solve(chosen.program, solver, z0, p, throw=False, **options)


def instances(name: str) -> np.ndarray:
    return member(name, jnp.float64).ps


def neighbours(name: str) -> np.ndarray:
    """Each instance of a program, followed by its neighbours `p + STEP e_i` and `p - STEP e_i`."""
    ps = instances(name)
    size = ps.shape[1]
    return ps[:, None] + STEP * np.concatenate([np.zeros((1, size)), np.eye(size), -np.eye(size)])


def batch_of(name: str, dtype: Any = jnp.float64) -> Array:
    ps = neighbours(name)
    return jnp.asarray(ps.reshape(-1, ps.shape[-1]), dtype)


@cache
def compiled(solver: AbstractSolver, name: str, dtype: Any) -> Any:
    """The solutions of a batch, under `jit`; of another size it would be traced again, and raises."""
    chosen = member(name, dtype)
    batch = eqx.debug.assert_max_traces(jax.vmap(lambda p: alone(solver, chosen, p)), max_traces=1)
    return jax.jit(batch)


@cache
def solved(solver: AbstractSolver, name: str, dtype: Any = jnp.float64) -> Any:
    """The solutions at `neighbours`, instance after instance."""
    return compiled(solver, name, dtype)(batch_of(name, dtype))


class Told(AbstractSolver):
    """Knows the answer: `warm` is the point `[z, λ, ν]`."""

    def prepare(self, program: FlatProgram, p: Any) -> Any:
        return None

    def init(self, program: FlatProgram, constants: Any, x0: Array, p: Any, warm: Any) -> Any:
        return warm

    def step(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> Any:
        return state

    def done(self, state: Any) -> Array:
        return jnp.asarray(True)

    def finish(self, program: FlatProgram, constants: Any, state: Any, p: Any) -> tuple[Point, RESULTS, Any]:
        x, ineq, eq = jnp.split(state, np.cumsum([program.size, program.n_ineq]))
        return Point(x, ineq, eq), RESULTS.successful, (jnp.zeros((), x.dtype), jnp.asarray(0))


def flat(tree: Any) -> Array:
    return ravel_pytree(tree)[0]
