"""Which parameters do the data determine? Answers from the Fisher information of a fit."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from ..core import invalid, is_transform, ravel, resolve, tree_size

# Weights of a network that change the residuals by less than this, relative to its most effective direction, cannot
# absorb a parameter: they would have to change by a million times their size. Also far above the rounding of float64
# in `JᵀJ`, which is 1e-8 here; that of a Jacobian in float32 is coped with separately.
_EFFECTIVE = 1e-6

_SHOWN = 6  # names in a sentence

_LARGEST = 1e150  # of a sensitivity: sums of its squares have to be finite


class Direction(eqx.Module):
    """A joint change of named parameters to which the residuals hardly respond."""

    names: tuple[str, ...] = eqx.field(static=True)
    """The parameters that take part, the largest share first."""
    change: tuple[float, ...] = eqx.field(static=True)
    """Their relative changes, of Euclidean norm 1 over all parameters; absolute ones for parameters that are 0."""
    collinearity: float = eqx.field(static=True)
    """How many times larger the response would be if the changes did not compensate each other; infinite if nothing
    is left of it in the arithmetic."""


class Identifiability(eqx.Module):
    """What the data say about the named parameters of a fit, after the network's parameters have taken their part."""

    names: tuple[str, ...] = eqx.field(static=True)
    """The named parameters, entry by entry: `C[2]`."""
    eigenvalues: Float[np.ndarray, " n"]
    """Of the Fisher information of relative changes, in units of squared residuals, ascending."""
    condition: float = eqx.field(static=True)
    """Largest over smallest eigenvalue; infinite if the smallest is zero to rounding."""
    sensitivity: Float[np.ndarray, " n"]
    """Norm of the residuals' change for a relative change of 1 in each parameter alone."""
    collinearity: Float[np.ndarray, " n"]
    """`1 / sin φ_i >= 1`, with `φ_i` the angle between the sensitivity of a parameter and the span of all others, the
    network's included: the factor by which not knowing them enlarges its standard error (the root of the variance
    inflation factor). Infinite if nothing is left in the arithmetic."""
    absorbed: Float[np.ndarray, " n"]
    """The same with the span of the network's parameters alone; 1 without a network."""
    relative_errors: Float[np.ndarray, " n"] | None
    """Relative standard errors, infinite for what the data do not determine; None where no noise was given."""
    directions: tuple[Direction, ...]
    """What the data do not determine, the worst first."""
    warning: str = eqx.field(static=True)
    """In words; empty where all parameters are determined."""


def sensitivities(residuals: Callable[..., Any], model: Any, *data: Any) -> Float[Array, "residuals parameters"]:
    """The Jacobian `J = ∂r/∂θ` of all residuals with respect to all floating-point arrays of a model.

    Args:
        residuals: `(model, *data) -> pytree of residuals`, such as `loss.residuals` of a least-squares loss.
        model: any pytree; what is not to count as a parameter is taken out by `trainable` of `fit` or is no array.
        data: further arguments of `residuals`.

    Returns:
        One row per residual, one column per entry of the parameters in the order of the model's leaves.

    Gradient: in both modes.
    """
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel(parameters)
    function = lambda flat: ravel(residuals(eqx.combine(unravel(flat), rest), *data))[0]
    by_columns = flat.size <= jax.eval_shape(function, flat).size
    return (jax.jacfwd if by_columns else jax.jacrev)(function)(flat)


def identifiability(
    parameters: Any,
    *,
    jacobian: Float[Array, "residuals parameters"] | None = None,
    matrix: Float[Array, "parameters parameters"] | None = None,
    variance: float | None = None,
    network: Callable[[Any], Any] | None = None,
    limit: float = 30.0,
) -> Identifiability:
    """Which parameters of a fit the data determine, which only in combination, and which a network can absorb.

    Every parameter enters by its relative change, `θ_i ∂r/∂θ_i`, so that two factors of one product are equal and
    opposite whatever their units: a model that knows only `R C` is caught. Where a network stands beside named
    parameters, a named one is determined only by what no change of the network's weights reproduces:

        S = (I - Π) J_named diag(θ),   Π = projection on the span of the network's sensitivities

    and everything below is computed from `S`, by singular values. Its columns are compared after scaling them to the
    length that they had before the projection (a *collinearity index*): an index of 30 says that the other parameters
    undo all but a thirtieth of the effect of a change. This is a local statement at the fitted parameters and for
    these data: other inputs may determine what these do not.

    Args:
        parameters: the fitted model, or the pytree of what was fitted; its floating-point arrays are the parameters,
            in the coordinates of the Jacobian. Of transformed ones (`training.Positive`, ...) the report is about the
            values: the chain rule takes the Jacobian there.
        jacobian: `J = ∂r/∂θ` at the solution, as `sensitivities` gives. Give either this or `matrix`.
        matrix: `JᵀJ`, as `SecondOrderStats.matrix`. Half of the digits are lost: directions below `1e-8` of the
            largest response cannot be told from zero (in float64).
        variance: variance of the residuals' noise, > 0, for the standard errors, for instance `‖r‖² / (m - n)`.
        network: `parameters -> the part (or a list of parts) that is a network`; by default every part whose type is
            from `equinox.nn` or `sciml.nn`.
        limit: collinearity index above which a parameter or a direction is reported, > 1.

    Returns:
        The report. Computed in double precision on the host: call it outside `jit`; no derivatives.

    Raises:
        ValueError: none or both of `jacobian` and `matrix`, other shapes than the parameters have, numbers that are
            not finite, a negative eigenvalue, no parameter outside of the network, `limit` or `variance` out of range,
            a transformed parameter at the end of its range.

    Source: Belsley, Kuh & Welsch (1980), Regression Diagnostics, chapter 3, doi:10.1002/0471725153 (scaled condition
    indices above 30 as the mark of strong dependence); Brun, Reichert & Künsch (2001), Practical identifiability
    analysis of large environmental simulation models, Water Resources Research 37(4),
    doi:10.1029/2000WR900350 (collinearity index).

    Examples:
        ```python
        ts = jnp.linspace(0.0, 1.0, 30)
        residuals = lambda p: jnp.exp(-ts / (p["R"] * p["C"])) - p["scale"]
        fitted = {"C": jnp.asarray(2.0), "R": jnp.asarray(0.5), "scale": jnp.asarray(1.0)}
        jacobian = sciml.metrics.sensitivities(residuals, fitted)
        report = sciml.metrics.identifiability(fitted, jacobian=jacobian)
        assert set(report.directions[0].names) == {"C", "R"} and "product" in report.warning
        ```
    """
    named, names, values = _split(resolve(parameters), network)
    root, noise = _root(jacobian, matrix, values.size)
    root = _in_values(parameters, root)
    if not limit > 1:
        raise invalid("limit", limit, "a number > 1", "leave it at 30")
    if variance is not None and not variance > 0:
        raise invalid("variance", variance, "a number > 0", "pass ‖r‖² / (m - n)")
    scale = np.where(values != 0, np.abs(values), 1.0)
    columns = (root * scale)[:, named]
    length = np.linalg.norm(columns, axis=0)
    basis = _span(_unit(root[:, ~named], scale[~named]), noise)
    own = columns - basis @ (basis.T @ columns)
    is_seen = length > noise * max(float(np.max(length)), np.finfo(float).tiny)
    safe = np.where(is_seen, length, 1.0)
    # Noise of the projection: what is left below it is zero.
    unit = np.where(is_seen, own / safe, 0.0)
    left = np.linalg.norm(unit, axis=0)
    absorbed = np.where(is_seen, _index(left, noise), 1.0) if basis.shape[1] else np.ones(left.size)
    collinearity = _index(_left_over(unit, is_seen), noise)
    directions = _directions(unit, length, is_seen, names, (limit, noise))
    spectrum = np.sort(np.linalg.svd(own, compute_uv=False)) ** 2
    spectrum = np.concatenate([np.zeros(max(own.shape[1] - spectrum.size, 0)), spectrum])
    floor = (noise**2) * spectrum[-1]
    return Identifiability(
        names=names,
        eigenvalues=spectrum,
        condition=float(spectrum[-1] / spectrum[0]) if spectrum[0] > floor else float("inf"),
        sensitivity=length,
        collinearity=collinearity,
        absorbed=absorbed,
        relative_errors=None if variance is None else _errors(variance, collinearity, length),
        directions=directions,
        warning=_warning(names, is_seen, absorbed, directions, (limit, basis.shape[1] > 0)),
    )


def _split(parameters: Any, network: Callable[[Any], Any] | None) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Which entries are named parameters, their names, and the values of all entries."""
    model = eqx.filter(parameters, eqx.is_inexact_array)
    if network is None:
        is_net = jtu.tree_map(lambda n: jtu.tree_map(lambda _: _is_network(n), n), model, is_leaf=_is_network)
    else:
        chosen = lambda m: [x for x in jtu.tree_leaves(network(m)) if x is not None]
        nothing = jtu.tree_map(lambda _: False, model)
        is_net = eqx.tree_at(chosen, nothing, replace_fn=lambda _: True)
    flags, names, values = [], [], []
    leaves = jtu.tree_leaves_with_path(model)
    for (path, leaf), flag in zip(leaves, jtu.tree_leaves(is_net), strict=True):
        place = jtu.keystr(path, simple=True, separator=".") or "parameter"
        shape = np.shape(leaf)
        entries = [f"{place}[{', '.join(map(str, i))}]" if i else place for i in np.ndindex(*shape)]
        flags += [not flag] * len(entries)
        names += [] if flag else entries
        values.append(np.asarray(leaf, float).reshape(-1))
    if not any(flags):
        fix = "name a parameter outside of the network, or pass `network=lambda model: []`"
        raise invalid("parameters", "no floating-point array outside of the network", "a named parameter", fix)
    return np.asarray(flags), tuple(names), np.concatenate(values)


def _in_values(parameters: Any, root: np.ndarray) -> np.ndarray:
    """The root with respect to values, of one with respect to coordinates: `∂r/∂θ = ∂r/∂z (∂θ/∂z)⁻¹`."""
    root, at = root.copy(), 0
    model = eqx.filter(parameters, eqx.is_inexact_array)
    for path, leaf in jtu.tree_leaves_with_path(model, is_leaf=is_transform):
        size = tree_size(leaf)
        if is_transform(leaf):
            place = jtu.keystr(path, simple=True, separator=".") or "parameter"
            flat, unravel = ravel(leaf)
            value = lambda z, unravel=unravel: jnp.ravel(unravel(z).value())
            slope = np.asarray(jax.jacfwd(value)(flat), float)
            if slope.shape != (size, size) or not np.linalg.cond(slope) * np.finfo(float).eps < 1:
                fix = "fix the parameter, or widen its range"
                raise invalid("parameters", f"{place!r}, whose value does not respond", "one inside of its range", fix)
            root[:, at : at + size] = np.linalg.solve(slope.T, root[:, at : at + size].T).T
        at += size
    return root


def _is_network(node: Any) -> bool:
    """Whether a part of a model is a network by its type."""
    return type(node).__module__.startswith(("equinox.nn", "sciml.nn"))


def _root(jacobian: Any, matrix: Any, size: int) -> tuple[np.ndarray, float]:
    """`R` with `RᵀR = JᵀJ` in double precision, and the relative size of its rounding errors."""
    if (jacobian is None) == (matrix is None):
        got = "neither" if jacobian is None else "both"
        raise invalid("jacobian, matrix", got, "one of the two", "pass `jacobian=sensitivities(residuals, model)`")
    name, given = ("jacobian", jacobian) if matrix is None else ("matrix", matrix)
    array = np.asarray(given)
    eps = float(np.finfo(array.dtype).eps)
    array = array.astype(float)
    expected = f"(residuals, {size})" if matrix is None else f"({size}, {size})"
    if array.ndim != 2 or array.shape[1] != size or (matrix is not None and array.shape[0] != size):
        fix = "differentiate with respect to the same parameters, in the order of their leaves"
        raise invalid(name, f"shape {array.shape}", f"{expected} for {size} parameters", fix)
    if not np.all(np.isfinite(array)) or np.max(np.abs(array), initial=0.0) > _LARGEST:
        fix = "look at `result` of the fit first; sensitivities of an unstable run overflow: shorten it"
        raise invalid(name, "numbers that are NaN, infinite, or overflow when squared", "finite numbers", fix)
    if matrix is None:
        return array, 100 * eps
    diagonal = np.sqrt(np.maximum(np.diagonal(array), 0.0))
    safe = np.where(diagonal > 0, diagonal, 1.0)
    w, v = np.linalg.eigh(0.5 * (array + array.T) / safe[:, None] / safe)
    slack = 100 * size * eps
    if w[0] < -slack * max(w[-1], 1.0):
        got = f"a matrix with the negative eigenvalue {w[0]:.3g} after scaling"
        raise invalid("matrix", got, "`JᵀJ`, positive semidefinite", "pass the matrix of a Gauss-Newton method")
    return np.sqrt(np.maximum(w, 0.0))[:, None] * v.T * safe, float(np.sqrt(slack))


def _unit(columns: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The network's sensitivities to changes of its weights by their own typical size, the root mean square."""
    typical = np.sqrt(np.mean(scale**2)) if scale.size else 1.0
    return columns * typical


def _span(columns: np.ndarray, noise: float) -> np.ndarray:
    """An orthonormal basis of what the network can do."""
    if columns.shape[1] == 0:
        return np.zeros((columns.shape[0], 0))
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return u[:, s > max(_EFFECTIVE, noise) * s[0]] if s[0] > 0 else u[:, :0]


def _left_over(unit: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
    """The length of each column that the other ones do not explain."""
    left = np.zeros(unit.shape[1])
    for i in np.flatnonzero(is_seen):
        others = np.delete(unit, i, axis=1)
        u, s, _ = np.linalg.svd(others, full_matrices=False)
        basis = u[:, s > 1e-12 * s[0]] if s.size and s[0] > 0 else u[:, :0]
        rest = unit[:, i] - basis @ (basis.T @ unit[:, i])
        left[i] = np.linalg.norm(rest - basis @ (basis.T @ rest))
    return left


def _index(left: np.ndarray, noise: float) -> np.ndarray:
    """The collinearity index of a remaining length."""
    is_left = left > noise
    return np.where(is_left, np.maximum(1.0 / np.where(is_left, left, 1.0), 1.0), np.inf)


def _errors(variance: float, collinearity: np.ndarray, length: np.ndarray) -> np.ndarray:
    """`σ sqrt([(SᵀS)⁻¹]_ii) = σ γ_i / ‖column i‖`."""
    known = (length > 0) & np.isfinite(collinearity)
    size = np.where(known, length, 1.0)
    return np.where(known, np.sqrt(variance) * np.where(known, collinearity, 0.0) / size, np.inf)


def _directions(
    unit: np.ndarray, length: np.ndarray, is_seen: np.ndarray, names: tuple[str, ...], level: tuple[float, float]
) -> tuple[Direction, ...]:
    """The directions whose collinearity index is above the limit, the worst first; unseen parameters lead."""
    limit, noise = level
    alone = [Direction((names[i],), (1.0,), float("inf")) for i in np.flatnonzero(~is_seen)]
    index = np.flatnonzero(is_seen)
    if not index.size:
        return tuple(alone)
    _, s, vt = np.linalg.svd(unit[:, index], full_matrices=True)
    s = np.concatenate([s, np.zeros(vt.shape[0] - s.size)])
    found = []
    for strength, row in sorted(zip(s, vt, strict=True), key=lambda pair: pair[0]):
        if strength * limit > 1:
            continue
        change = row / length[index]  # from columns of length one back to relative changes
        change = change / np.linalg.norm(change)
        order = [i for i in np.argsort(-np.abs(row), kind="stable") if abs(row[i]) > 0.1]
        sign = np.sign(change[order[0]])
        found.append(
            Direction(
                tuple(names[index[i]] for i in order),
                tuple(float(sign * change[i]) for i in order),
                float(1 / strength) if strength > noise else float("inf"),
            )
        )
    return tuple(alone + found)


def _warning(
    names: tuple[str, ...],
    is_seen: np.ndarray,
    absorbed: np.ndarray,
    directions: tuple[Direction, ...],
    level: tuple[float, bool],
) -> str:
    """The report in words."""
    limit, has_network = level
    lines = [f"`{names[i]}` has no influence on the residuals." for i in np.flatnonzero(~is_seen)]
    taken = [i for i in range(len(names)) if is_seen[i] and absorbed[i] > limit]
    for i in taken:
        rest = "all" if np.isinf(absorbed[i]) else f"all but 1/{absorbed[i]:.3g}"
        lines.append(f"The network can undo {rest} of the effect of `{names[i]}`: its value is arbitrary.")
    known = {names[i] for i in np.flatnonzero(~is_seen)} | {names[i] for i in taken}
    lines += [_in_words(d, has_network) for d in directions if not set(d.names) <= known]
    if not lines:
        return ""
    also = ", penalise what the network adds along the known terms" if taken else ""
    cure = f"Fix such a parameter, fit the combination instead, add a prior{also}, or excite the system otherwise."
    return " ".join([*lines, cure])


def _in_words(direction: Direction, has_network: bool) -> str:
    """A direction as a sentence; equal and opposite relative changes are those of the factors of a product."""
    shares = [f"{c:+.2g} {n}" for n, c in zip(direction.names, direction.change, strict=True)]
    together = ", ".join(shares[:_SHOWN]) + (f" and {len(shares) - _SHOWN} more" if len(shares) > _SHOWN else "")
    exact = "does not change" if np.isinf(direction.collinearity) else "hardly changes"
    text = f"The joint relative change ({together}) {exact} the residuals"
    text += ", with the network's help" if has_network else ""
    up = [n for n, c in zip(direction.names, direction.change, strict=True) if c > 0]
    down = [n for n, c in zip(direction.names, direction.change, strict=True) if c < 0]
    sizes = np.abs(direction.change)
    if len(sizes) < 2 or np.max(sizes) > 1.05 * np.min(sizes):
        return text + "."
    if down:
        kind = "product" if len(sizes) == 2 else "products"
        return f"{text}: only the {kind} of {_listed(up)} with {_listed(down)} can be determined."
    return f"{text}: only ratios of {_listed(up)} can be determined."


def _listed(names: list[str]) -> str:
    """Some names, quoted."""
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
