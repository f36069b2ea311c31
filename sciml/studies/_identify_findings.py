"""The identification study: what its report says about the chosen model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..losses import FreeRun
from ..metrics import identifiability, input_correlation, sensitivities, whiteness
from ..simulation import free_run
from ..sources import Record
from ..systems.models import Started
from ._identify_models import Candidate, KINDS

SAMPLES = 2000  # of the training record, at its start, that sensitivities are taken of


def residual_tests(model: Started, data: Record, names: tuple[list[str], list[str]]) -> dict[str, Any]:
    """Whether what is left on the validation part is white, and independent of the inputs."""
    run, lag = eqx.filter_jit(free_run)(model, data), model.start.lag
    left = jnp.where(data.is_measured[lag:], run.y - data.y[lag:], 0)
    lags = int(np.clip(left.shape[0] // 4, 1, 20))
    mask = data.is_measured[lag:]
    white = whiteness(left, lags=lags, is_measured=mask)
    table = {name: {"white_p": number(p)} for name, p in zip(names[1], np.atleast_1d(white.p_value), strict=True)}
    if data.u is not None:
        crossed = np.asarray(input_correlation(left, data.u[lag:], lags=lags, is_measured=mask).p_value)
        for name, row in zip(names[1], crossed, strict=True):
            table[name] |= {f"{source}_p": number(p) for source, p in zip(names[0], row, strict=True)}
    return table


def determined(one: Candidate, data: Record) -> dict[str, Any]:
    """How many combinations of the linear part's entries the record determines beside the networks, and in words.

    The basis of `n` states is free: `n²` combinations are never determined. Where more are not, the record is too
    little exciting for the order, or networks absorb entries.
    """
    part = jax.tree.map(lambda leaf: leaf[: one.model.start.lag + SAMPLES] if jnp.ndim(leaf) else leaf, data)
    fitted, rest = eqx.partition(one.model, _fitted(one))
    errors = lambda model, data: FreeRun().residuals(eqx.combine(model, rest), data)
    jacobian, order = eqx.filter_jit(sensitivities)(errors, fitted, part), _line(one.model).A.shape[0]
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(np.sum(np.square(np.asarray(jacobian, float))))
    if not is_finite:  # the derivatives of a long free run can grow beyond all numbers
        words = "not judged: along the free run the derivatives by the entries grow beyond what can be decomposed"
        return {"determined": None, "entries": None, "basis": order**2, "absorbed": None, "finding": words}
    found = identifiability(fitted, jacobian=jacobian, network=lambda m: [m.start.W, *_networks(one, m)])
    total = len(found.names)
    known = total - len(found.directions)
    absorbed = int(np.sum(found.absorbed > 30.0))
    words = f"{known} of {total} combinations of the entries of A, B, C and D are determined"
    words += f"; the choice of the states' basis leaves {order**2} free" * (order > 0)
    spare = len(found.directions) - order**2
    words += f", the record leaves {spare} more" if spare > 0 else ", the record none"
    words += f"; networks can absorb {absorbed} entries" if absorbed else ""
    return {"determined": known, "entries": total, "basis": order**2, "absorbed": absorbed, "finding": words}


def number(value: Any) -> float | None:
    """A number for JSON; None for one that is not finite."""
    return float(value) if np.isfinite(value) else None


def _line(model: Started) -> Any:
    """The linear part."""
    return getattr(model.system, "linear", model.system)


def _networks(one: Candidate, model: Started) -> list[Any]:
    is_net = lambda node: isinstance(node, eqx.nn.MLP)
    return jax.tree.leaves(KINDS[one.name].network(model), is_leaf=is_net) if one.name in KINDS else []


def _fitted(one: Candidate) -> Any:
    """True for the arrays of the linear part that were fitted, of networks, and of the start, which knows the basis."""
    names = "AC" if _line(one.model).B.shape[1] == 0 else "ABC"
    names += "D" if one.name.endswith("direct") or (one.name in KINDS and "B" in names) else ""
    parts = lambda m: [m.start.W, *(getattr(_line(m), name) for name in names), *_networks(one, m)]
    arrays = [jax.tree.map(eqx.is_inexact_array, part) for part in parts(one.model)]
    return eqx.tree_at(parts, jax.tree.map(lambda _: False, one.model), arrays)
