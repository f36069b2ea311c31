"""Studies: complete jobs from data to report, behind `python -m sciml`."""

from ._identify import Identify as Identify, load_identified as load_identified
from ._study import (
    AbstractStudy as AbstractStudy,
    argument as argument,
    option as option,
    options_of as options_of,
    Run as Run,
    run_study as run_study,
)
from ._tanks import Tanks as Tanks
