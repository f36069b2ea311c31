"""Dynamical systems: continuous and discrete, discretisation, models to be fitted, and a zoo of plants."""

from . import models as models, zoo as zoo
from ._abstract import (
    AbstractContinuousSystem as AbstractContinuousSystem,
    AbstractDiscreteSystem as AbstractDiscreteSystem,
)
from ._discretise import discretise as discretise, Discretised as Discretised, Exact as Exact
from ._linear import (
    LinearContinuous as LinearContinuous,
    LinearDiscrete as LinearDiscrete,
    zero_order_hold as zero_order_hold,
)
from ._linearise import linearise as linearise
from ._lyapunov import (
    continuous_lyapunov as continuous_lyapunov,
    discrete_lyapunov as discrete_lyapunov,
    EquationStats as EquationStats,
)
from ._methods import Heun as Heun, Midpoint as Midpoint, RK4 as RK4
from ._riccati import care as care, dare as dare
from ._smooth import safe_sqrt as safe_sqrt, smooth_max as smooth_max, smooth_min as smooth_min
