"""Policies: functions of what is seen, with memory where they need some."""

from ._controller import Controller as Controller
from ._mpc import MPC as MPC, MPCMemory as MPCMemory, MPCReport as MPCReport, state_and_signal as state_and_signal
from ._output_feedback import OutputFeedback as OutputFeedback
from ._previews import previews as previews
