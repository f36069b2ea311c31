"""Studies: whole jobs, end to end, short because the layers do the work."""

from ._tanks import run_tanks as run_tanks
