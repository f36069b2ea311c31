"""Policies: functions of what is seen, with memory where they need some."""

from ._output_feedback import OutputFeedback as OutputFeedback
