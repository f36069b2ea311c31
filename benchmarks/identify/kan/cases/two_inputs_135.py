"""Two inputs, networks of about 135 parameters."""

from cases._common import judge as judge, METRICS as METRICS, two_inputs as instance  # noqa: F401

LOWER, UPPER, RATE = (0.0, 0.0), (1.0, 1.0), 0.02
KAN = {"width": 5, "depth": 1}
KAN_FINE = {"width": 2, "depth": 1, "grid": 18}
FINITE_BASIS = ((2, 2), {"width": 1, "depth": 1, "grid": 7})
MLP = {"width_size": 33, "depth": 1}
