"""Simulation: `simulate` in continuous time, `rollout` in discrete time with a policy, and `replay` of records."""

from ._free_run import free_run as free_run
from ._inputs import (
    AbstractInput as AbstractInput,
    Cubic as Cubic,
    Linear as Linear,
    ZeroOrderHold as ZeroOrderHold,
)
from ._replay import replay as replay
from ._rollout import rollout as rollout
from ._simulate import simulate as simulate
