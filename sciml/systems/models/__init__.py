"""Models to be fitted to data, each a system that `simulate`, `rollout`, `fit` and control take unchanged."""

from ._libraries import (
    AbstractLibrary as AbstractLibrary,
    Concatenated as Concatenated,
    Fourier as Fourier,
    Functions as Functions,
    Polynomial as Polynomial,
    Products as Products,
)
from ._sindy import SINDy as SINDy
