"""The five programs: NumPy arrays and their derivatives for the referee, programs of this library for the contestants.

All of them are, with arrays that depend on the instance `p`,

    minimise    ½ zᵀQz + qᵀz + cᵀ sin(z)
    subject to  A z = b,   G z <= h,   lower <= z <= upper

so that one referee judges all. `arrays` takes complex numbers too: the referee differentiates it by complex steps.

Source: Donti, Rolnick & Kolter (2021), DC3, section 4.1, for the convex and the nonconvex program, here smaller.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sciml import Program
from sciml.programs import guess, OptimalControl, QuadraticProgram, transcribe
from sciml.solvers import ADMM, AugmentedLagrangian, BoxNewton, InteriorPoint, InteriorPointQP, SQP

N, EQUALITIES, INEQUALITIES = 10, 4, 5
HORIZON = 8
COUNT = 32
SEEDS = (0, 1)
Arrays = dict[str, np.ndarray]


class Question(NamedTuple):
    """A program for the solvers, where they start, its arrays, and a draw of instances."""

    program: Any
    quadratic: Any
    """The same as a `QuadraticProgram`, or None."""
    z0: Any
    arrays: Callable[[Arrays], Arrays]
    """Of one instance."""
    draw: Callable[[np.random.Generator], Arrays]
    solvers: tuple[Any, ...]


def _shared(sine: float) -> Arrays:
    rng = np.random.default_rng(17)
    G, A = rng.standard_normal((INEQUALITIES, N)), rng.standard_normal((EQUALITIES, N))
    limit = np.sum(np.abs(G @ np.linalg.pinv(A)), axis=1)
    size = {"Q": np.diag(rng.random(N) + 0.5), "q": rng.random(N), "A": A, "b": np.zeros(EQUALITIES), "G": G}
    return {**size, "h": limit, "c": np.full(N, sine), "lower": np.full(N, -1.0), "upper": np.full(N, 1.0)}


def _drawn(names: str, sine: float) -> Callable[[np.random.Generator], Arrays]:
    """Instances that differ in the arrays with these names."""
    base = _shared(sine)

    def draw(rng: np.random.Generator) -> Arrays:
        p = {name: np.tile(base[name], (COUNT,) + (1,) * base[name].ndim) for name in names}
        noise = {name: rng.standard_normal(value.shape) for name, value in p.items()}
        if "Q" in p:
            p["Q"] = p["Q"] + 0.1 * (noise["Q"] @ np.swapaxes(noise["Q"], 1, 2))
        for name, size in (("q", 2.0), ("A", 0.5), ("b", 0.4), ("G", 0.5)):
            if name in p:
                p[name] = p[name] + size * noise[name]
        if "h" in p:
            p["h"] = 0.3 * p["h"] * rng.uniform(0.2, 1.0, p["h"].shape)
        return p

    return draw


def _plain(names: str, sine: float, solvers: tuple[Any, ...]) -> Question:
    base = {name: jnp.asarray(value) for name, value in _shared(sine).items()}
    at = lambda name, z, p: p[name] if name in names else base[name].astype(z.dtype)

    def cost(z, p):
        wave = sine * jnp.sum(jnp.sin(z)) if sine else 0.0
        return 0.5 * z @ at("Q", z, p) @ z + at("q", z, p) @ z + wave

    quadratic = None
    if not sine:
        entries: dict[str, Any] = {
            name: (lambda p, name=name: p[name]) if name in names else base[name] for name in "QqAbGh"
        }
        quadratic = QuadraticProgram(**entries, lower=-1.0, upper=1.0)
    program = Program(
        cost,
        ineq=lambda z, p: at("G", z, p) @ z - at("h", z, p),
        eq=lambda z, p: at("A", z, p) @ z - at("b", z, p),
        lower=-1.0,
        upper=1.0,
    )
    arrays = lambda p: {**_shared(sine), **p}
    return Question(program, quadratic, np.zeros(N), arrays, _drawn(names, sine), solvers)


def _box() -> Question:
    base = _shared(0.0)
    nothing = {"A": np.zeros((0, N)), "b": np.zeros(0), "G": np.zeros((0, N)), "h": np.zeros(0)}

    def draw(rng: np.random.Generator) -> Arrays:
        return {**_drawn("Qq", 0.0)(rng), "upper": np.full((COUNT, N), 1.0)}

    limits = {"lower": -1.0, "upper": lambda p: p["upper"]}
    program = Program(lambda z, p: 0.5 * z @ p["Q"] @ z + p["q"] @ z, **limits)
    quadratic = QuadraticProgram(Q=lambda p: p["Q"], q=lambda p: p["q"], **limits)
    solvers = (InteriorPointQP(), BoxNewton(), AugmentedLagrangian())
    return Question(program, quadratic, np.zeros(N), lambda p: {**base, **nothing, **p}, draw, solvers)


def _control() -> Question:
    """A linear system with two states and bounded inputs; `p` holds its matrices, the start and the price of inputs."""
    control = OptimalControl(
        dynamics=lambda x, u, w, p: p["A"] @ x + p["B"] @ u,
        stage=lambda x, u, w, p: 0.5 * (x @ x) + 0.05 * (u @ u) + p["r"] @ u,
        terminal=lambda x, p: 2.0 * x @ x,
        initial=lambda p: p["x0"],
        horizon=HORIZON,
        u_lower=-0.5,
        u_upper=0.5,
    )
    like = {"A": jnp.eye(2), "B": jnp.ones((2, 1)), "x0": jnp.zeros(2), "r": jnp.zeros(1)}
    z0 = guess(control, jnp.zeros((HORIZON, 1)), like)

    def arrays(p: Arrays) -> Arrays:
        steps = np.eye(HORIZON)
        rows = np.kron(steps, np.eye(2)) - np.kron(np.eye(HORIZON, k=-1), p["A"])
        x, u = 2 * HORIZON, HORIZON
        Q = np.diag(np.concatenate([np.ones(x - 2), np.full(2, 4.0), np.full(u, 0.1)]))
        b = np.concatenate([p["A"] @ p["x0"], np.zeros(x - 2)])
        bound = np.concatenate([np.full(x, np.inf), np.full(u, 0.5)])
        return {
            "Q": Q, "q": np.concatenate([np.zeros(x), np.tile(p["r"], HORIZON)]),
            "A": np.concatenate([rows, -np.kron(steps, p["B"])], axis=1), "b": b,
            "G": np.zeros((0, x + u)), "h": np.zeros(0), "c": np.zeros(x + u), "lower": -bound, "upper": bound,
        }  # fmt: skip

    def draw(rng: np.random.Generator) -> Arrays:
        system = np.array([[1.0, 0.3], [0.0, 1.0]]) + 0.1 * rng.standard_normal((COUNT, 2, 2))
        B = np.array([[0.05], [0.3]]) + 0.05 * rng.standard_normal((COUNT, 2, 1))
        return {"A": system, "B": B, "x0": rng.standard_normal((COUNT, 2)), "r": 0.1 * rng.standard_normal((COUNT, 1))}

    solvers = (InteriorPoint(), SQP(), AugmentedLagrangian())
    return Question(transcribe(control), None, z0, arrays, draw, solvers)


def questions() -> dict[str, Question]:
    """By their words."""
    convex = (InteriorPointQP(), InteriorPoint(), SQP(), ADMM(), AugmentedLagrangian())
    return {
        "QP, all arrays from p": _plain("QqAbGh", 0.0, convex),
        "DC3, convex": _plain("bh", 0.0, convex),
        "DC3, nonconvex": _plain("bhq", 0.5, (InteriorPoint(), SQP(), AugmentedLagrangian())),
        "box, Q and bounds from p": _box(),
        "optimal control, by stages": _control(),
    }
