"""The equations of the reference plants again, in plain NumPy, from the literature and not from the library."""

from itertools import pairwise
from math import cos, exp, pi, sin, sqrt

import numpy as np


def universal_oscillator(t, x, u):
    return [x[1], -4.0 * x[1] - x[0] + cos(t)]


def pendulum(t, x, u):
    return [x[1], -3.0 * x[1] - 9.81 * sin(x[0])]


def double_pendulum(t, x, u):
    """Solves the two equations of Lagrange for the accelerations; unit masses and lengths."""
    a, v, b, w = x
    mass = np.array([[2.0, cos(a - b)], [cos(a - b), 1.0]])
    force = [-(w**2) * sin(a - b) - 2 * 9.81 * sin(a), v**2 * sin(a - b) - 9.81 * sin(b)]
    p, q = np.linalg.solve(mass, force)
    return [v, p, w, q]


def van_der_pol_lienard(t, x, u):
    return [x[0] - x[0] ** 3 / 3 - x[1], x[0]]


def duffing(t, x, u):
    return [x[1], -0.02 * x[1] - x[0] - 5 * x[0] ** 3 + 8 * cos(0.5 * t)]


def inverted_pendulum(t, x, u):
    inertia = 0.15 * 0.5**2
    return [x[1], 9.81 / 0.5 * sin(x[0]) - 0.1 / inertia * x[1] + u[0] / inertia]


def duffing_control(t, x, u):
    return [x[1], -0.02 * x[1] - x[0] - 5 * x[0] ** 3 + 8 * cos(0.5 * u[0])]


def van_der_pol_control(t, x, u):
    return [x[1], (1 - x[0] ** 2) * x[1] - x[0] + u[0]]


def lorenz(t, x, u):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def lorenz_control(t, x, u):
    rate = lorenz(t, x, u)
    return [rate[0] + u[0], rate[1], rate[2] - u[1]]


def thomas(t, x, u):
    return [sin(x[1]) - 0.208186 * x[0], sin(x[2]) - 0.208186 * x[1], sin(x[0]) - 0.208186 * x[2]]


def thomas_control(t, x, u):
    return [sin(x[1]) - u[0] * x[0], sin(x[2]) - u[0] * x[1], sin(x[0]) - u[0] * x[2]]


def rossler(t, x, u):
    return [-x[1] - x[2], x[0] + 0.2 * x[1], 0.2 + x[2] * (x[0] - 5.7)]


def chua(t, x, u):
    """The resistance by pieces, not by absolute values."""
    v = x[0]
    current = -1.143 * v if abs(v) <= 1 else -0.714 * v + np.sign(v) * (-1.143 + 0.714)
    return [15.6 * (x[1] - v - current), v - x[1] + x[2], -28 * x[1]]


def brusselator(t, x, u):
    return [1 + x[0] ** 2 * x[1] - 4 * x[0], 3 * x[0] - x[0] ** 2 * x[1]]


def autoignition(t, x, u):
    burn = (1 - x[1]) * exp((x[0] - 1.1) / 0.3)
    return [6.5 * burn - x[0] ** 2, burn - 0.55 * x[1] / (1 + exp(5 * (x[0] - 0.55)))]


def lotka_volterra(t, x, u):
    return [1.1 * x[0] - 0.4 * x[0] * x[1], 0.1 * x[0] * x[1] - 0.4 * x[1]]


def seir(t, x, u):
    s, e, i, _ = x
    beta, alpha, gamma = 2.4 / 3.3, 1 / 5.1, 1 / 3.3
    return [-(1 - u[0]) * beta * s * i, (1 - u[0]) * beta * s * i - alpha * e, alpha * e - gamma * i, gamma * i]


def hindmarsh_rose(t, x, u):
    return [
        x[1] - x[0] ** 3 + 2.6 * x[0] ** 2 - x[2] + u[0],
        1 - 5 * x[0] ** 2 - x[1],
        0.01 * (4 * (x[0] + 1.6) - x[2]),
    ]


def tank(t, x, u):
    return [u[0] * u[1] / 1000]


def two_tank(t, x, u):
    """Away from the brim; the root's rounding at an empty tank is that of `safe_sqrt`, width 1e-6."""
    q1, q2 = (0.04 * h / sqrt(max(h, 0.0) + 1e-6) for h in x)
    return [0.08 * (1 - u[1]) * u[0] - q1, 0.08 * u[1] * u[0] + q1 - q2]


def cstr(t, x, u):
    c, T = x
    rate = 7.2e10 * exp(-8750 / T) * c
    return [1 - c - rate, 350 - T + 5e4 / 239 * rate + 5e4 / (100 * 239) * (u[0] - T)]


def underwater_vehicle(t, x, u):
    theta, _, v, q, r, a, b, c = x
    return [
        q,
        r / cos(theta),
        -0.179 * v**2 + 0.519 * a,
        -3.519 * v * q - 0.748 * q - 8.947 * sin(theta) + 3.096 * v**2 * b,
        -0.441 * v * r + 0.065 * v**2 * c,
        -10 * (a - u[0]),
        -10 * (b - u[1]),
        -10 * (c - u[2]),
    ]


def actuator(t, x, u):
    return [-10 * (x[i] - u[i]) for i in range(3)]


def swing_equation(t, x, u):
    speed = 2 * pi * 60
    return [speed * x[1], (u[0] - 5 * sin(x[0]) - 5 * x[1]) / (2 * 500 / speed)]


def pendulum_swing_up(t, x, u):
    inertia = 1.0 * 0.5**2
    return [x[1], 9.81 / 0.5 * sin(x[0]) - 0.1 / inertia * x[1] + u[0] / inertia]


def cart_pole(t, x, u):
    """Solves the two equations of Lagrange for the accelerations."""
    m1, m2, length = 1.0, 0.3, 0.5
    mass = np.array([[m1 + m2, m2 * length * cos(x[1])], [cos(x[1]), length]])
    force = [u[0] + m2 * length * x[3] ** 2 * sin(x[1]), -9.81 * sin(x[1])]
    return [x[2], x[3], *np.linalg.solve(mass, force)]


def planar_quadrotor(t, x, u):
    turn = np.array([[cos(x[2]), -sin(x[2])], [sin(x[2]), cos(x[2])]])
    lift = turn @ [0.0, u[0] + u[1]] / 0.486
    return [*x[3:], lift[0], lift[1] - 9.81, 0.25 * (u[0] - u[1]) / 0.00383]


def quadrotor(t, x, u):
    """By matrices: rotations about three axes, the Jacobian of the angles, a cross product."""
    (a, b, c), rates = x[6:9], np.asarray(x[9:])
    yaw = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    pitch = np.array([[cos(b), 0, sin(b)], [0, 1, 0], [-sin(b), 0, cos(b)]])
    roll = np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])
    to_rates = np.array([[1, 0, -sin(b)], [0, cos(a), cos(b) * sin(a)], [0, -sin(a), cos(b) * cos(a)]])
    inertia = np.diag([0.0023, 0.0023, 0.004])
    # Thrust along z at (r, 0), (0, r), (-r, 0), (0, -r).
    arms = 0.175 * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    torque = sum(np.cross(arm, [0, 0, f]) for arm, f in zip(arms, u, strict=True))
    torque = torque + np.array([0, 0, 0.0245 * (u[0] - u[1] + u[2] - u[3])])
    spin = np.linalg.solve(inertia, torque - np.cross(rates, inertia @ rates))
    lift = yaw @ pitch @ roll @ [0, 0, sum(u) / 0.5] - [0, 0, 9.81]
    return [*x[3:6], *lift, *np.linalg.solve(to_rates, rates), *spin]


def chain_of_masses(t, x, u):
    """Mass by mass."""
    places = [np.zeros(3), *np.reshape(x[:12], (4, 3))]
    forces = []
    for one, other in pairwise(places):
        distance = np.linalg.norm(other - one)
        forces.append((distance - 0.033) * (other - one) / distance)
    pulls = [(after - before) / 0.033 - [0, 0, 9.81] for before, after in pairwise(forces)]
    return np.concatenate([x[12:], u, *pulls])


def five_rooms(t, x, u):
    """Room by room over a matrix of conductances."""
    walls = {(0, 1): 12, (0, 2): 9, (0, 3): 15, (1, 3): 8, (1, 4): 11, (2, 3): 14, (3, 4): 10}
    outer, heater, volume = [12, 8, 10, 5, 14], [6, 9, 5, 12, 7], [60, 120, 45, 200, 90]
    conductance = np.zeros((5, 5))
    for (i, j), area in walls.items():
        conductance[i, j] = conductance[j, i] = area / 3.5
    rates = []
    for i in range(5):
        heat = sum(conductance[i, j] * (x[j] - x[i]) for j in range(5))
        heat += outer[i] / 3.5 * (u[0] - x[i]) + heater[i] * (u[1 + i] - x[i])
        rates.append(heat / (840 * volume[i]))
    return rates


def _attraction(x, masses, constant):
    places, velocities = np.reshape(x, (2, 4, 2))
    pulls = np.zeros((4, 2))
    for i in range(4):
        for j in range(4):
            if i != j:
                apart = places[j] - places[i]
                pulls[i] += constant * masses[j] * apart / np.linalg.norm(apart) ** 3
    return np.concatenate([velocities.ravel(), pulls.ravel()])


def gravitation(t, x, u):
    return _attraction(x, [1.0, 1e-6, 1e-6, 1e-6], 1.0)


def gravitation_si(t, x, u):
    return _attraction(x, [1e6, 1.0, 1.0, 1.0], 6.67e-11)


def _limited(v, most):
    length, width = np.hypot(*v), most / 20
    return v * (most - width * np.log1p(np.exp((most - length) / width))) / length


def boids(x):
    """One step, member by member."""
    places, velocities = np.reshape(x, (2, -1, 2))
    n = len(places)
    bump = lambda z: 1 / (1 + np.exp(-z / 0.02))
    after = np.zeros((2, n, 2))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        asked = 0.05 * (np.mean(places[others], axis=0) - places[i])
        asked = asked + 0.05 * (np.mean(velocities[others], axis=0) - velocities[i])
        away, total = np.zeros(2), 1.0
        for j in others:
            apart = places[i] - places[j]
            distance = np.sqrt(apart @ apart + 2e-4**2)
            weight = bump(0.2 - distance)
            away, total = away + weight * apart / distance, total + weight
        asked = asked + 0.01 * away / total + 0.5 * (bump(0.2 - places[i]) - bump(0.2 - 10 + places[i]))
        after[1, i] = _limited(velocities[i] + _limited(asked, 0.005), 0.03)
        after[0, i] = places[i] + after[1, i]
    return after.ravel()


def single_zone(x, u):
    """Row by row, with the heat and the disturbances apart."""
    q, ambient, gains, sun = u
    floor, inner, outer, air = x
    return [
        0.995 * floor + 0.0017 * inner + 0.0031 * air + 1.7586e-6 * q + 2e-4 * ambient,
        7e-4 * floor + 0.9957 * inner + 3e-4 * outer + 0.0031 * air + 1.7584e-6 * q + 2e-4 * ambient,
        3e-4 * inner + 0.9834 * outer + 1.839e-10 * q + 0.0163 * ambient,
        0.2015 * floor
        + 0.4877 * inner
        + 0.01 * outer
        + 0.2571 * air
        + 5.0563e-4 * q
        + 0.0536 * ambient
        + 5e-4 * gains
        + 1e-4 * sun,
    ]
