"""The question in numbers: small constrained problems of CUTEst as `sif2jax` has them, and their outside referee.

minimise f(x)  subject to  c(x) = 0,  g(x) <= 0,  lower <= x <= upper, over one vector `x`. `names.csv` lists the
problems of sif2jax 0.0.8 with at most 50 variables that have constraints, and the bounded ones of Hock & Schittkowski.
Verified optima are in `hock_schittkowski/hs_facts.json` in `SCIML_DATA`, or in `../shared/data` beside the repository.

Source: Hock & Schittkowski (1981), Test Examples for Nonlinear Programming Codes, Springer; Gould, Orban & Toint
(2015), CUTEst, DOI 10.1007/s10589-014-9687-3.
"""

import csv
import importlib
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import data_folder

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-6  # the referee's, for every optimality condition, unscaled
REACHED = 1e-6  # relative to max(1, |f*|)
ABSENT = 1e20  # a bound of this size is none
NEAR = 1e-2  # rows further from their limit than this get no least-squares multiplier

Arrays = dict[str, np.ndarray]


def names() -> list[str]:
    """Every problem of the list, those of Hock & Schittkowski first."""
    return list(_table())


def facts() -> dict[str, dict[str, Any]]:
    """What is verified of some of them, by name; nothing where the data folder is absent."""
    path = data_folder() / "hock_schittkowski" / "hs_facts.json"
    if not path.is_file():
        print(f"no verified optima: {path} is absent; set SCIML_DATA to the folder that holds it", file=sys.stderr)
        return {}
    return {fact["name"]: fact for fact in json.loads(path.read_text(encoding="utf-8"))}


def _table() -> dict[str, dict[str, str]]:
    with (HERE / "names.csv").open(encoding="utf-8") as lines:
        return {line["name"]: line for line in csv.DictReader(lines)}


def stored(path: Path) -> dict[str, dict[str, Any]]:
    """The answers in a file of lines; a line that was cut off is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[answer["name"]] = answer
    return found


class Problem:
    """One problem over vectors: functions for JAX, and arrays in NumPy.

    `objective(x)`, `equalities(x)` and `inequalities(x)` (`<= 0`) are traceable; the latter two are None where there
    are none.
    """

    def __init__(self, name: str):
        import jax
        from jax.flatten_util import ravel_pytree

        source = _instance(name)
        start, unravel = ravel_pytree(source.y0)
        as_vector = lambda tree: ravel_pytree(tree)[0]
        self.name, self.x0 = name, np.asarray(start, np.float64)
        self.lower, self.upper = np.full(start.size, -np.inf), np.full(start.size, np.inf)
        if getattr(source, "bounds", None) is not None:
            low, high = (np.asarray(as_vector(bound), np.float64) for bound in source.bounds)
            self.lower = np.where(low <= -ABSENT, -np.inf, low)
            self.upper = np.where(high >= ABSENT, np.inf, high)
        self.objective = lambda x: jax.numpy.asarray(source.objective(unravel(x), source.args)).reshape(())
        self.equalities = self.inequalities = None
        blocks = jax.eval_shape(source.constraint, source.y0) if hasattr(source, "constraint") else (None, None)
        sizes = [sum(leaf.size for leaf in jax.tree.leaves(block)) for block in blocks]
        if sizes[0]:
            self.equalities = lambda x: as_vector(source.constraint(unravel(x))[0])
        if sizes[1]:
            self.inequalities = lambda x: -as_vector(source.constraint(unravel(x))[1])

    def first(self) -> Callable[[np.ndarray], Arrays]:
        """Compiled `x -> {f, slope, c, C, g, G}`: values and first derivatives, as NumPy arrays."""
        import jax

        none = lambda x: jax.numpy.zeros(0)
        blocks = [self.equalities or none, self.inequalities or none]

        @jax.jit
        def evaluate(x: Any) -> Any:
            f, slope = jax.value_and_grad(self.objective)(x)
            (c, g), (rows_c, rows_g) = [b(x) for b in blocks], [jax.jacfwd(b)(x) for b in blocks]
            return {"f": f, "slope": slope, "c": c, "C": rows_c, "g": g, "G": rows_g}

        return lambda x: {k: np.asarray(v, np.float64) for k, v in evaluate(np.asarray(x, np.float64)).items()}

    def second(self) -> Callable[..., np.ndarray]:
        """Compiled `(x, factor, eq, ineq) -> Hessian of factor f + eq'c + ineq'g`."""
        import jax

        def lagrangian(x: Any, factor: Any, eq: Any, ineq: Any) -> Any:
            value = factor * self.objective(x)
            for block, weight in ((self.equalities, eq), (self.inequalities, ineq)):
                value = value if block is None else value + weight @ block(x)
            return value

        evaluate = jax.jit(jax.jacfwd(jax.grad(lagrangian)))
        as_floats = lambda values: [np.asarray(v, np.float64) for v in values]
        return lambda *arguments: np.asarray(evaluate(*as_floats(arguments)))


def _instance(name: str) -> Any:
    """The problem of `sif2jax`, mended where that is wrong, without importing the hundreds of others (minutes)."""
    if "sif2jax" not in sys.modules and importlib.util.find_spec("sif2jax") is None:
        raise ModuleNotFoundError("`sif2jax` is not installed: see rivals/requirements.txt")
    module = _table()[name]["module"]
    for package in ("sif2jax", "sif2jax.cutest", f"sif2jax.cutest.{module.split('.')[0]}"):
        _bare(package)
    loaded = importlib.import_module(f"sif2jax.cutest.{module}")
    from mended import MENDED

    found = getattr(loaded, name.replace("-", "_"))()
    return MENDED[name](found) if name in MENDED else found


def _bare(package: str) -> None:
    """`package` in `sys.modules` without running its `__init__`, which would import every problem."""
    if package in sys.modules:
        return
    parent, _, last = package.rpartition(".")
    if parent:
        folder = Path(sys.modules[parent].__path__[0]) / last
    else:
        folder = Path(importlib.util.find_spec(package).origin).parent
    bare = types.ModuleType(package)
    bare.__path__ = [str(folder)]
    sys.modules[package] = bare
    if package == "sif2jax":
        base = importlib.import_module("sif2jax._problem")
        vars(bare).update({name: value for name, value in vars(base).items() if name.startswith("Abstract")})


def multipliers(at: Arrays, x: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Arrays:
    """Least-squares multipliers with the right signs, for solvers that return none.

    minimise |slope + C'ν + G'λ - ζ_l + ζ_u|² + |multiplier · slack|²  over `ν`, and `λ`, `ζ` >= 0, rows near their
    limit only.
    """
    from scipy.optimize import nnls

    n = len(x)
    columns = [at["G"].T, -np.eye(n), np.eye(n)]
    slack = np.abs(np.concatenate([at["g"], x - lower, upper - x]))
    near = np.flatnonzero(slack <= NEAR)
    rows = np.concatenate(columns, axis=1)[:, near]
    free = at["C"].T
    top = np.concatenate([free, -free, rows], axis=1)
    below = np.concatenate([np.zeros((len(near), 2 * free.shape[1])), np.diag(slack[near])], axis=1)
    found = np.zeros(top.shape[1])
    if len(found):  # SciPy 1.17.1 frees memory twice where there is nothing to find
        target = np.concatenate([-at["slope"], np.zeros(len(near))])
        found = nnls(np.concatenate([top, below]), target, maxiter=10_000)[0]
    m, signed = free.shape[1], np.zeros(len(slack))
    signed[near] = found[2 * m :]
    ineq, low, high = np.split(signed, [len(at["g"]), len(at["g"]) + n])
    return {"eq": found[:m] - found[m : 2 * m], "ineq": ineq, "lower": low, "upper": high}


def judge(at: Arrays, x: np.ndarray, duals: Arrays, lower: np.ndarray, upper: np.ndarray) -> dict[str, float]:
    """Unscaled residual of every optimality condition at `x` in float64 NumPy; infinite where not finite.

    Args:
        at: values and derivatives at `x`, as `Problem.first` gives them.
        x: the decision.
        duals: `eq`, and `ineq`, `lower`, `upper`, nonnegative.
        lower, upper: the bounds.

    Source: Boyd & Vandenberghe (2004), Convex Optimization, section 5.5.3.
    """
    largest = lambda values: float(np.max(np.abs(values), initial=0.0))
    slope = at["slope"] + at["C"].T @ duals["eq"] + at["G"].T @ duals["ineq"] - duals["lower"] + duals["upper"]
    excess = np.concatenate([at["g"], lower - x, x - upper])
    signed = np.concatenate([duals["ineq"], duals["lower"], duals["upper"]])
    parts = {
        "stationarity": largest(slope),
        "violation": max(largest(at["c"]), largest(np.maximum(excess, 0.0))),
        # A multiplier of a bound that does not exist is an error of its own size.
        "complementarity": largest(signed * np.where(np.isfinite(excess), excess, 1.0)),
        "sign": largest(np.minimum(signed, 0.0)),
    }
    parts = {name: value if np.isfinite(value) else float("inf") for name, value in parts.items()}
    return {**parts, "largest": max(parts.values()), "objective": float(at["f"])}


def reached(objective: float, violation: float, best: float) -> bool:
    """Whether a feasible point attains the verified optimal value, or a better one."""
    return violation <= TOLERANCE and objective <= best + REACHED * max(1.0, abs(best))
