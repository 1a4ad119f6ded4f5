"""Panels of curves and single points as one SVG: parameters to the right, perplexity upwards, logarithmic."""

import html
import math

COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7"]  # of a start; dashed: residuals that start at zero
WIDTH, HEIGHT, LEFT, TOP = 360, 300, 60, 40


def text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{html.escape(words)}</text>'


def ticks(low: float, high: float) -> list[float]:
    """About six round values on a logarithmic axis."""
    step = 10 ** math.floor(math.log10(low))
    for part in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2):
        first = math.ceil(low / (part * step))
        values = [i * part * step for i in range(first, int(high / (part * step)) + 1)]
        if len(values) <= 8:
            return values
    return [low, high]


class Panel:
    def __init__(self, left: float, xs: tuple[float, float], ys: tuple[float, float]):
        self.left, self.xs, self.ys = left, xs, ys

    def x(self, value: float) -> float:
        return self.left + WIDTH * (value - self.xs[0]) / (self.xs[1] - self.xs[0])

    def y(self, value: float) -> float:
        low, high = map(math.log, self.ys)
        return TOP + HEIGHT * (high - math.log(value)) / (high - low)

    def frame(self, title: str, x_axis: str) -> list[str]:
        out = [f'<rect x="{self.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
               text(self.left + WIDTH / 2, TOP - 12, title, extra='font-weight="bold"'),
               text(self.left + WIDTH / 2, TOP + HEIGHT + 36, x_axis)]
        for value in ticks(*self.ys):
            y = self.y(value)
            out.append(f'<path d="M{self.left} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
            out.append(text(self.left - 6, y + 4, f"{value:g}", "end"))
        for i in range(math.ceil(self.xs[0] / 5e5), int(self.xs[1] / 5e5) + 1):
            out.append(text(self.x(i * 5e5), TOP + HEIGHT + 18, f"{i * 0.5:g}"))
        return out

    def curve(self, index: int, name: str, points: list[tuple[float, float]]) -> list[str]:
        color, dash = COLORS[index // 2 % len(COLORS)], 'stroke-dasharray="5 3"' if index % 2 else ""
        path = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in points)
        out = [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5" {dash}/>']
        out += [f'<circle cx="{self.x(a):.1f}" cy="{self.y(b):.1f}" r="3" fill="{color}"><title>{html.escape(name)}: '
                f'{b:.2f}</title></circle>' for a, b in points]
        return out

    def mark(self, name: str, a: float, b: float) -> list[str]:
        x, y = self.x(a), self.y(b)
        right = x < self.left + WIDTH / 2
        return [f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8" stroke="#222" stroke-width="1.5"/>',
                text(x + (8 if right else -8), y + 4, f"{name} {b:.1f}", "start" if right else "end", 'font-size="10"')]


def plot(panels: list, x_axis: str, y_axis: str) -> str:
    """panels: (title, [(curve's name, [(x, y)])], [(mark's name, x, y)])."""
    every = [p for _, curves, _ in panels for _, points in curves for p in points]
    every += [(a, b) for _, _, marks in panels for _, a, b in marks]
    every = every or [(1e6, 10), (2e6, 20)]
    xs = (0.9 * min(a for a, _ in every), 1.05 * max(a for a, _ in every))
    ys = (0.95 * min(b for _, b in every), 1.05 * max(b for _, b in every))
    total = LEFT + len(panels) * (WIDTH + LEFT) + 120
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{TOP + HEIGHT + 50}" '
           'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>',
           text(0, 0, y_axis, extra=f'transform="translate(16 {TOP + HEIGHT / 2}) rotate(-90)"')]
    for i, (title, curves, marks) in enumerate(panels):
        panel = Panel(LEFT + i * (WIDTH + LEFT), xs, ys)
        out += panel.frame(title, x_axis)
        for index, (name, points) in enumerate(curves):
            out += panel.curve(index, name, points)
        for mark in marks:
            out += panel.mark(*mark)
    x = LEFT + len(panels) * (WIDTH + LEFT) - 30
    for index, (name, _) in enumerate(panels[0][1] if panels else []):
        y, dash = TOP + 14 + 18 * index, 'stroke-dasharray="5 3"' if index % 2 else ""
        out.append(f'<line x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}" stroke="{COLORS[index // 2 % len(COLORS)]}" '
                   f'stroke-width="1.5" {dash}/>')
        out.append(text(x + 32, y + 4, name, "start"))
    return "\n".join(out) + "\n</svg>\n"
