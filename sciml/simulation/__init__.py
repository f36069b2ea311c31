"""Simulation: `simulate` in continuous time, `rollout` with a policy, `replay` of records, and filters."""

from ._filter import (
    estimate_states as estimate_states,
    Estimated as Estimated,
    filter_states as filter_states,
    Filtered as Filtered,
    smooth_states as smooth_states,
    Smoothed as Smoothed,
)
from ._free_run import free_run as free_run
from ._gaussian import Gaussian as Gaussian
from ._inputs import (
    AbstractInput as AbstractInput,
    Cubic as Cubic,
    Linear as Linear,
    ZeroOrderHold as ZeroOrderHold,
)
from ._moving_horizon import MovingHorizon as MovingHorizon, Window as Window
from ._observers import (
    AbstractGaussianFilter as AbstractGaussianFilter,
    AbstractObserver as AbstractObserver,
    ExtendedKalmanFilter as ExtendedKalmanFilter,
    KalmanFilter as KalmanFilter,
    steady_state as steady_state,
    SteadyKalmanFilter as SteadyKalmanFilter,
)
from ._replay import replay as replay
from ._rollout import rollout as rollout
from ._simulate import simulate as simulate
