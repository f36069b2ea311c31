"""A quadrotor in space flies back to hovering in 1.6 s; body and angles are those of `solvers/quadrotor_horizon`."""

import numpy as np
import problem

N, DT = 40, 0.04
MASS, GRAVITY, ARM, MOMENT = 0.5, 9.81, 0.175, 0.0245
INERTIA = (0.0023, 0.0023, 0.004)
X0 = np.array([0.6, -0.4, 0.3, *[0.0] * 9])
SPREAD = np.repeat([0.4, 0.3, 0.2, 0.5], 3)
GOAL, REST = np.zeros(12), np.full(4, MASS * GRAVITY / 4)
U0 = REST
Q, R, P = np.repeat([10.0, 1.0, 1.0, 0.1], 3), np.full(4, 0.1), np.repeat([20.0, 5.0, 5.0, 1.0], 3)
LOWER, UPPER = np.zeros(4), np.full(4, 2.5)


def rates(x, u, xp):
    """`dx/dt` of place, velocity, Z-Y-X angles and body rates."""
    _, _, _, *velocity, roll, pitch, yaw, p, q, r = xp.parts(x)
    first, second, third, fourth = xp.parts(u)
    (sr, cr), (sp, cp), (sy, cy) = ((xp.sin(a), xp.cos(a)) for a in (roll, pitch, yaw))
    lift = (first + second + third + fourth) / MASS
    ix, iy, iz = INERTIA
    turn = (q * sr + r * cr) / cp
    acceleration = [lift * (cy * sp * cr + sy * sr), lift * (sy * sp * cr - cy * sr), lift * cp * cr - GRAVITY]
    angles = [p + turn * sp, q * cr - r * sr, turn]
    spin = [
        (ARM * (second - fourth) + (iy - iz) * q * r) / ix,
        (ARM * (third - first) + (iz - ix) * p * r) / iy,
        (MOMENT * (first - second + third - fourth) + (ix - iy) * p * q) / iz,
    ]
    return xp.stack([*velocity, *acceleration, *angles, *spin])


def step(x, u, xp):
    """The state after `DT`."""
    return problem.runge_kutta(rates, x, u, DT, xp)
