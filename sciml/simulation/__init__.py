"""Simulation: `simulate` in continuous time, and `rollout` in discrete time with a policy in closed loop."""

from ._inputs import (
    AbstractInput as AbstractInput,
    Cubic as Cubic,
    Linear as Linear,
    ZeroOrderHold as ZeroOrderHold,
)
from ._rollout import rollout as rollout
from ._simulate import simulate as simulate
