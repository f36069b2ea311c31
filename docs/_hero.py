"""Draws `docs/assets/hero.svg` from the program of the landing page: `python docs/_hero.py`, after that page changed.

The colours are readable on light and on dark; the ground is transparent.
"""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

FOLDER = Path(__file__).resolve().parent
LOW, HIGH, SIZE = (0.18, -0.12), (1.32, 1.02), 480
BLUE, ORANGE, GREY = "#2b8fd0", "#e8752a", "#8796a5"


def place(x, y) -> np.ndarray:
    """Coordinates of the drawing, one row for each point."""
    scale = SIZE / (HIGH[0] - LOW[0])
    return np.stack([(np.asarray(x) - LOW[0]) * scale, SIZE - (np.asarray(y) - LOW[1]) * scale], axis=-1)


def path(points: np.ndarray, style: str) -> str:
    """One polyline."""
    pairs = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{pairs}" {style}/>'


def contours(function, levels) -> list[str]:
    """Level sets over the drawing."""
    xs, ys = np.meshgrid(np.linspace(LOW[0], HIGH[0], 160), np.linspace(LOW[1], HIGH[1], 160))
    lines = plt.figure().add_subplot().contour(xs, ys, function(xs, ys), levels).allsegs
    style = f'fill="none" stroke="{GREY}" stroke-width="0.9" opacity="0.55"'
    return [path(place(*line[::2].T), style) for level in lines for line in level if len(line) > 4]


def main() -> None:
    """Runs the page and draws what it computed."""
    page: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```", (FOLDER / "index.md").read_text(encoding="utf-8"), re.M | re.S)
    exec("\n".join(blocks), page)
    some = slice(0, 420)
    exact = place(np.asarray(page["exact"].value.x)[some], np.asarray(page["exact"].value.y)[some])
    answers = page["jax"].vmap(page["learned"].value)(page["ps"])
    learned = place(np.asarray(answers.x)[:70], np.asarray(answers.y)[:70])
    cost = lambda x, y: page["rosenbrock"](page["Z"](x, y), page["P"](1.0, 1.0))

    parts = contours(cost, np.array([0.003, 0.015, 0.04, 0.08, 0.14, 0.22, 0.34, 0.55, 0.85, 1.3]))
    corner = place([LOW[0], HIGH[0], LOW[0]], [LOW[0], HIGH[0], HIGH[0]])
    parts.append(path(corner, f'fill="{ORANGE}" opacity="0.09"'))
    for radius in (0.5, 1.2):
        angle = np.linspace(-0.4, 1.6, 60)
        arc = place(radius * np.cos(angle), radius * np.sin(angle))
        parts.append(path(arc, f'fill="none" stroke="{GREY}" stroke-width="1.6" stroke-dasharray="5 5"'))
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{BLUE}" opacity="0.75"/>' for x, y in exact]
    ring = f'r="5" fill="none" stroke="{ORANGE}" stroke-width="1.6"'
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" {ring}/>' for x, y in learned]
    legend = f'fill="{GREY}" font-family="system-ui, sans-serif" font-size="14"'
    y = SIZE + 24
    names = [
        f'<circle cx="78" cy="{y}" r="4" fill="{BLUE}"/><text x="90" y="{y + 5}" {legend}>exact optima</text>',
        f'<circle cx="208" cy="{y}" {ring}/><text x="221" y="{y + 5}" {legend}>answers of the network</text>',
    ]
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE + 36}">'
    clip = f'<clipPath id="c"><rect width="{SIZE}" height="{SIZE}" rx="18"/></clipPath><g clip-path="url(#c)">'
    drawing = svg + clip + "\n".join(parts) + "</g>" + "".join(names) + "</svg>\n"
    (FOLDER / "assets" / "hero.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
