"""MkDocs hook: Mermaid flowcharts as drawings in the page, so that no script is fetched when the page is read.

Understands what these pages use, top to bottom: `name["Title<br/><i>text</i>"]` and `a & b --> c --> d`.
"""

import re
from itertools import pairwise

FENCE = re.compile(r"^```mermaid\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NODE = re.compile(r'(?P<name>\w+)\["(?P<label>[^"]+)"\]')
WIDTH, HEIGHT, ACROSS, DOWN = 176, 50, 22, 40


def parse(body: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Labels by name, and arrows."""
    kind, *lines = [line.strip() for line in body.strip().splitlines() if not line.strip().startswith("%%")]
    if kind not in ("flowchart TD", "flowchart TB", "graph TD", "graph TB"):
        raise ValueError(f"Mermaid: got `{kind}`; expected `flowchart TD`. Likely fix: extend docs/_diagram.py")
    labels: dict[str, str] = {}
    arrows: list[tuple[str, str]] = []
    for line in filter(None, lines):
        labels |= {match["name"]: match["label"] for match in NODE.finditer(line)}
        chain = [re.split(r"\s*&\s*", part.strip()) for part in NODE.sub(r"\g<name>", line).split("-->")]
        if not all(re.fullmatch(r"\w+", name) for group in chain for name in group):
            raise ValueError(f"Mermaid: got `{line}`; expected nodes and arrows. Likely fix: extend docs/_diagram.py")
        arrows += [(a, b) for left, right in pairwise(chain) for a in left for b in right]
    for name in {name for arrow in arrows for name in arrow}:
        labels.setdefault(name, name)
    return labels, arrows


def ranks(labels: dict[str, str], arrows: list[tuple[str, str]]) -> dict[str, int]:
    """The row of each node: the longest way down to it."""
    rows = dict.fromkeys(labels, 0)
    for _ in labels:
        for a, b in arrows:
            rows[b] = max(rows[b], rows[a] + 1)
    if any(rows[b] <= rows[a] for a, b in arrows):
        raise ValueError("Mermaid: got a cycle; expected arrows that point down. Likely fix: remove one")
    return rows


def _places(rows: dict[str, int], arrows: list[tuple[str, str]]) -> tuple[dict[str, tuple[float, float]], float]:
    """The middle of each node's upper edge, rows centred, each row sorted by where its arrows come from."""
    levels = [[name for name in rows if rows[name] == row] for row in range(max(rows.values()) + 1)]
    total = max(len(level) for level in levels) * (WIDTH + ACROSS) - ACROSS
    places: dict[str, tuple[float, float]] = {}
    for row, level in enumerate(levels):
        above = {name: [places[a][0] for a, b in arrows if b == name] or [total / 2] for name in level}
        level.sort(key=lambda name: sum(above[name]) / len(above[name]))
        left = (total - len(level) * (WIDTH + ACROSS) + ACROSS) / 2
        for i, name in enumerate(level):
            places[name] = (left + i * (WIDTH + ACROSS) + WIDTH / 2, row * (HEIGHT + DOWN) + 1)
    return places, total


def drawing(body: str) -> str:
    """The flowchart as one line of SVG, coloured by the stylesheet."""
    labels, arrows = parse(body)
    places, total = _places(ranks(labels, arrows), arrows)
    height = max(y for _, y in places.values()) + HEIGHT + 1
    parts = []
    for a, b in arrows:
        (x0, y0), (x1, y1) = places[a], places[b]
        y0, bend = y0 + HEIGHT, (y1 - y0 - HEIGHT) / 2
        tip = f"M{x1 - 4:.0f} {y1 - 6:.0f}L{x1:.0f} {y1 - 1:.0f}L{x1 + 4:.0f} {y1 - 6:.0f}"
        line = f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1 - 2:.0f}"
        parts.append(f'<path d="{line}{tip}"/>')
    for name, (x, y) in places.items():
        title, *rest = re.split(r"<br ?/?>", labels[name])
        small = re.sub(r"</?\w+>", "", " ".join(rest))
        parts.append(f'<rect x="{x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + (20 if small else 29):.0f}" class="name">{title}</text>')
        parts.append(f'<text x="{x:.0f}" y="{y + 38:.0f}">{small}</text>' if small else "")
    size = f'viewBox="0 0 {total:.0f} {height:.0f}" style="max-width: {total:.0f}px"'
    words = ", ".join(f"{a} to {b}" for a, b in arrows)
    return f'<svg class="diagram" {size} role="img" aria-label="Arrows: {words}">{"".join(parts)}</svg>'


def on_page_markdown(markdown: str, **_):
    """Draws every flowchart of a page."""
    return FENCE.sub(lambda match: drawing(match["body"]), markdown)
