"""The question in numbers: the small problems of the Maros-Meszaros collection, from files. NumPy and SciPy only.

minimise ½ x'Px + q'x + r  subject to  l <= A x <= u; the last rows of `A` are the bounds of the variables.
The folder is `maros_meszaros` in `SCIML_DATA`, or in `../shared/data` beside the repository.
"""

import csv
from pathlib import Path

import numpy as np
from harness import data_folder

MOST_VARIABLES = 200
INFINITE = 9e19  # larger magnitudes stand for infinity
TOLERANCE, TOLERANCE_SINGLE = 1e-6, 1e-4  # absolute: primal residual, dual residual, duality gap
PARTS = ("P", "q", "A", "l", "u")

Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """Where the problems are."""
    return data_folder() / "maros_meszaros"


def names() -> list[str]:
    """The problems with few enough variables, in the order of the reference file."""
    with (folder() / "reference.csv").open(encoding="utf-8") as lines:
        return [line["name"] for line in csv.DictReader(lines) if int(line["n"]) <= MOST_VARIABLES]


def optima() -> dict[str, float]:
    """The optimal values, `r` included."""
    with (folder() / "reference.csv").open(encoding="utf-8") as lines:
        return {line["name"]: float(line["objective"]) for line in csv.DictReader(lines) if line["objective"]}


def load(name: str) -> Arrays:
    """One problem in float64, dense, with infinities; `r` beside."""
    from scipy.io import loadmat

    raw = loadmat(folder() / f"{name}.mat")
    dense = lambda key: np.asarray(raw[key].todense() if hasattr(raw[key], "todense") else raw[key], np.float64)
    data = {"P": dense("P"), "A": dense("A"), "r": dense("r").ravel()}
    for key in ("q", "l", "u"):
        vector = dense(key).ravel()
        data[key] = np.where(np.abs(vector) > INFINITE, np.copysign(np.inf, vector), vector)
    return data


def instance() -> Arrays:
    """All problems in one dictionary, the arrays of `NAME` as `NAME.P`, `NAME.q`, ..."""
    return {f"{name}.{key}": value for name in names() for key, value in load(name).items()}


def problems(data: Arrays) -> dict[str, Arrays]:
    """The inverse of `instance`."""
    found: dict[str, Arrays] = {}
    for key, value in data.items():
        name, part = key.rsplit(".", 1)
        found.setdefault(name, {})[part] = value
    return found


def split(data: Arrays) -> tuple[Arrays, dict[str, np.ndarray]]:
    """Equalities `A, b`, inequalities `G, h` and bounds `lower, upper`, and the rows that they came from.

    Rows with `l = u` become equalities, those of fixed variables too.
    """
    n, rows, low, high = len(data["q"]), data["A"], data["l"], data["u"]
    if not np.array_equal(rows[-n:], np.eye(n)):
        raise ValueError("the last rows of `A`: expected the identity (the bounds). Likely fix: another data set")
    general = np.arange(len(rows)) < len(rows) - n
    equal = np.flatnonzero(low == high)
    above = np.flatnonzero(general & (low < high) & np.isfinite(high))
    below = np.flatnonzero(general & (low < high) & np.isfinite(low))
    free = low[-n:] < high[-n:]
    arrays = {
        "Q": data["P"],
        "q": data["q"],
        "A": rows[equal],
        "b": high[equal],
        "G": np.concatenate([rows[above], -rows[below]]),
        "h": np.concatenate([high[above], -low[below]]),
        "lower": np.where(free, low[-n:], -np.inf),
        "upper": np.where(free, high[-n:], np.inf),
    }
    return arrays, {"equal": equal, "above": above, "below": below}


def join(
    data: Arrays, came: Arrays, eq: np.ndarray, ineq: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """The multipliers of the rows `l <= A x <= u`, positive at `u`, from those of `split`."""
    y = np.zeros(len(data["l"]))
    y[-len(data["q"]) :] = upper - lower
    y[came["equal"]] += eq
    y[came["above"]] += ineq[: len(came["above"])]
    y[came["below"]] -= ineq[len(came["above"]) :]
    return y


def judge(data: Arrays, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The outside referee: absolute primal residual, dual residual, duality gap (infinite where not finite), objective.

    Source: Caron et al., qpbenchmark, "Metrics", https://github.com/qpsolvers/qpbenchmark.
    """
    x, image = np.float64(x), data["A"] @ np.float64(x)
    # A multiplier of a bound that does not exist is none: what it held up shows in the dual residual.
    above = np.where(np.isfinite(data["u"]), np.maximum(y, 0.0), 0.0)
    below = np.where(np.isfinite(data["l"]), np.minimum(y, 0.0), 0.0)
    y = np.float64(above + below)
    limits = sum(np.sum(m[m != 0] * side[m != 0]) for m, side in ((above, data["u"]), (below, data["l"])))
    parts = {
        "primal": np.max(np.maximum(np.maximum(image - data["u"], data["l"] - image), 0.0), initial=0.0),
        "dual": np.max(np.abs(data["P"] @ x + data["q"] + data["A"].T @ y)),
        "gap": np.abs(x @ data["P"] @ x + data["q"] @ x + limits),
    }
    parts = {name: float(value) if np.isfinite(value) else float("inf") for name, value in parts.items()}
    value = float(0.5 * x @ data["P"] @ x + data["q"] @ x + data["r"][0])
    return {**parts, "largest": max(parts.values()), "objective": value}
