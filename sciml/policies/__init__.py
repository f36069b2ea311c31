"""Policies: functions of what is seen, with memory where they need some; planners of inputs over a horizon."""

from ._gradient_planner import Gradient as Gradient
from ._horizon import Horizon as Horizon
from ._ilqr import Feedback as Feedback, ILQR as ILQR
from ._output_feedback import OutputFeedback as OutputFeedback
from ._plan import (
    AbstractPlanner as AbstractPlanner,
    Outcome as Outcome,
    plan as plan,
    PlanStats as PlanStats,
    shifted as shifted,
)
from ._sampling_planners import AbstractSampler as AbstractSampler, CEM as CEM, MPPI as MPPI
