"""Studies: whole jobs, end to end, short because the layers do the work."""

from ._study import (
    AbstractStudy as AbstractStudy,
    option as option,
    options_of as options_of,
    Run as Run,
    run_study as run_study,
)
from ._tanks import Tanks as Tanks
