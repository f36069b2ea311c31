"""The return value of `solve`, `solve_batch` and `fit`."""

from typing import Any, Generic, TypeVar

import equinox as eqx

from ._results import RESULTS

Value = TypeVar("Value")


class Solution(eqx.Module, Generic[Value]):
    """The answer of `solve`, `solve_batch` or `fit`, with its result code, statistics and multipliers.

    Gradient: `value` and `duals` carry derivatives; `result`, `stats` and `state` carry none (zero in both modes).
    No leaf is a function, so that `jax.vmap` can return a `Solution`.
    """

    value: Value
    """What was asked for."""
    result: RESULTS
    """How it ended; compare with `RESULTS.successful`."""
    stats: Any
    """Counters and residuals, a record of the producing verb."""
    duals: Any = None
    """Multipliers shaped like the constraints, or None."""
    state: Any = None
    """Pass back (`warm=` of `solve`) to continue from here."""
