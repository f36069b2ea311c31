"""The question in numbers: a quadrotor that tracks a figure-eight, over horizons of growing length. NumPy only.

    minimise    Σ_k ½ dt (‖x_k - ref_k‖²_Q + ‖u_k - hover‖²_R)  +  ½ ‖x_N - ref_N‖²_P
    subject to  x_{k+1} = RK4(x_k, u_k, dt),   x_0 given,
                0 <= u <= 2.5 N,   |roll|, |pitch| <= 0.35 rad,   height <= 1.15 m   (states 1 ... N)

States: position [m], velocity [m/s] (both in the world's frame, z up), roll, pitch, yaw [rad] (Z-Y-X angles), rates in
the body's frame [rad/s]. Inputs: thrust of each of four rotors [N], in a cross; the first and the third lie on the
body's x axis. Inputs are held over a step. The tilt limit and the ceiling bind on every lap.

Sources: rigid-body dynamics of Luukkonen (2011), Modelling and control of quadcopter, with body rates as states. Mass,
inertia, arm and drag-to-thrust ratio are the defaults of `Quadrotor` in RobotZoo.jl; the thrust limit is about twice
hovering.
"""

from typing import Any

import numpy as np

HORIZONS = (10, 30, 100, 300, 1000)
BATCHES = (1, 64)
MOST_STAGES = 6400  # of a batch, N times batch: a longer horizon runs in smaller batches only
SEEDS = (0, 1)  # the second is one that nothing was tuned on
DT = 0.02  # s
MASS, GRAVITY, ARM, MOMENT = 0.5, 9.81, 0.175, 0.0245  # kg, m/s², m, N m of drag for each N of thrust
INERTIA = (0.0023, 0.0023, 0.004)  # kg m²
HOVER = MASS * GRAVITY / 4  # N for each rotor
MOST_THRUST, MOST_TILT, CEILING = 2.5, 0.35, 1.15
PERIOD, WIDTH, RISE, HEIGHT = 5.0, 1.5, 0.2, 1.0  # s, m, m, m
Q = np.repeat([10.0, 1.0, 0.1, 0.1], 3)
R = np.full(4, 0.1)
P = np.repeat([10.0, 1.0, 0.1, 0.1], 3)
TOLERANCE = 1e-6  # asked of every contestant
NX, NU = 12, 4
X_UPPER = np.array([np.inf, np.inf, CEILING, *[np.inf] * 3, MOST_TILT, MOST_TILT, *[np.inf] * 4])
X_LOWER = np.array([*[-np.inf] * 6, -MOST_TILT, -MOST_TILT, *[-np.inf] * 4])


def rates(x: Any, u: Any, xp: Any) -> Any:
    """`dx/dt`; `xp` has `sin`, `cos`, `parts` (the components of a vector) and `stack` (a vector of components)."""
    _, _, _, *velocity, roll, pitch, yaw, p, q, r = xp.parts(x)
    first, second, third, fourth = xp.parts(u)
    (sr, cr), (sp, cp), (sy, cy) = ((xp.sin(a), xp.cos(a)) for a in (roll, pitch, yaw))
    lift = (first + second + third + fourth) / MASS
    ix, iy, iz = INERTIA
    turn = (q * sr + r * cr) / cp  # of the yaw angle
    acceleration = [lift * (cy * sp * cr + sy * sr), lift * (sy * sp * cr - cy * sr), lift * cp * cr - GRAVITY]
    angles = [p + turn * sp, q * cr - r * sr, turn]
    spin = [
        (ARM * (second - fourth) + (iy - iz) * q * r) / ix,
        (ARM * (third - first) + (iz - ix) * p * r) / iy,
        (MOMENT * (first - second + third - fourth) + (ix - iy) * p * q) / iz,
    ]
    return xp.stack([*velocity, *acceleration, *angles, *spin])


def step(x: Any, u: Any, xp: Any) -> Any:
    """The state after `DT`, by one step of the classical Runge-Kutta method."""
    k1 = rates(x, u, xp)
    k2 = rates(x + DT / 2 * k1, u, xp)
    k3 = rates(x + DT / 2 * k2, u, xp)
    k4 = rates(x + DT * k3, u, xp)
    return x + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def reference(horizon: int) -> np.ndarray:
    """States 0 ... N to track: a figure-eight with its velocity, level; `(N + 1, 12)`."""
    w = 2 * np.pi / PERIOD
    t = DT * np.arange(horizon + 1)
    found = np.zeros((horizon + 1, NX))
    found[:, 0], found[:, 3] = WIDTH * np.sin(w * t), WIDTH * w * np.cos(w * t)
    found[:, 1], found[:, 4] = WIDTH / 2 * np.sin(2 * w * t), WIDTH * w * np.cos(2 * w * t)
    found[:, 2], found[:, 5] = HEIGHT + RISE * np.sin(w * t), RISE * w * np.cos(w * t)
    return found


def instance(seed: int, horizon: int, batch: int) -> dict[str, np.ndarray]:
    """`x0` `(batch, 12)` about the reference's start, and `reference`; smaller batches are the first of larger ones."""
    rng = np.random.default_rng(seed)
    spread = np.repeat([0.1, 0.3, 0.1, 0.3], 3)
    return {"x0": (reference(0)[0] + spread * rng.uniform(-1, 1, (64, NX)))[:batch], "reference": reference(horizon)}


def start(data: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where every contestant starts: states 1 ... N on the reference, within their bounds, and inputs that hover."""
    x = np.clip(data["reference"][1:], X_LOWER, X_UPPER)
    return x, np.full((len(x), NU), HOVER)
