"""The trajectory of a simulated system."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Scalar

from ._results import RESULTS


class Trajectory(eqx.Module):
    """Times, states, inputs and outputs of one run of a system; under `vmap` every leaf gains a leading axis.

    A run of `N` steps has `N + 1` states and `N` inputs (`u[k]` acts from `t[k]` to `t[k+1]`).
    Gradient: `x`, `u` and `y` carry derivatives; `result` and `lost` carry none.
    """

    t: Float[Array, "*batch time"]
    """Time, in the system's unit."""
    x: Any
    """States: arrays (or a record of arrays) with a leading time axis of `N + 1`."""
    u: Any
    """Inputs, leading axis `N` (from `rollout`) or `N + 1` (from `simulate`); None for a system without input."""
    y: Any
    """Outputs at the times `t`."""
    result: RESULTS
    """`successful`, or why the run stopped."""
    lost: Scalar
    """Number of trailing steps that were not taken because the next state was not finite; 0 in a sound run."""
    report: Any = None
    """What the policy told at each step, leading axis `N` (`AbstractPolicy.report`); None where it told nothing."""
