"""Policies: functions of what is seen, with memory where they need some; planners of inputs over a horizon."""

from ._controller import Controller as Controller
from ._design import Equilibrium as Equilibrium, Targets as Targets
from ._finite_lqr import finite_lqr as finite_lqr, FiniteLQR as FiniteLQR
from ._gradient_planner import Gradient as Gradient
from ._horizon import Horizon as Horizon
from ._ilqr import Feedback as Feedback, ILQR as ILQR
from ._lqi import LQI as LQI, lqi as lqi
from ._lqr import LQR as LQR, lqr as lqr
from ._mpc import MPC as MPC, MPCMemory as MPCMemory, MPCReport as MPCReport, state_and_signal as state_and_signal
from ._output_feedback import OutputFeedback as OutputFeedback
from ._plan import (
    AbstractPlanner as AbstractPlanner,
    Outcome as Outcome,
    plan as plan,
    PlanStats as PlanStats,
    shifted as shifted,
)
from ._previews import previews as previews
from ._sampling_planners import AbstractSampler as AbstractSampler, CEM as CEM, MPPI as MPPI
