"""Two inputs, networks of about 540 parameters."""

from cases._common import judge as judge, METRICS as METRICS, two_inputs as instance  # noqa: F401

LOWER, UPPER, RATE = (0.0, 0.0), (1.0, 1.0), 0.02
KAN = {"width": 20, "depth": 1}
KAN_FINE = {"width": 5, "depth": 1, "grid": 32}
FINITE_BASIS = ((2, 2), {"width": 5, "depth": 1})
MLP = {"width_size": 15, "depth": 3}
