"""Table and picture of benchmarks/frontier.py, from the points that are kept."""

import html
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from table_plot import text, ticks  # noqa: E402
from tables import markdown, write_report  # noqa: E402

NAMES = {"lambada_openai": "LAMBADA", "hellaswag": "HellaSwag", "piqa": "PIQA", "arc_easy": "ARC-easy"}
COLORS = ["#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b5a2b", "#666666", "#7b3fa0"]
WIDTH, HEIGHT, LEFT, TOP = 460, 380, 70, 40


def write(path: pathlib.Path, recipe: dict, points: list[dict]) -> None:
    lines = header(recipe)
    pictured = any("perplexity" in point for point in points)
    if pictured:
        path.with_suffix(".svg").write_text(picture(recipe, points))
        lines += [f"![perplexity against bytes]({path.stem}.svg)", "",
                  "Across: bytes of the file. Up: the geometric mean of the perplexities on the texts.", ""]
    for model in recipe["models"]:
        rows = [point for point in points if point["model"] == model["name"]]
        if not rows:
            continue
        lines += [f"## {model['name']}", "", model["note"], ""] if "note" in model else [f"## {model['name']}", ""]
        lines += markdown(*table(recipe, [row for row in rows if "error" not in row]))
        failed = [row for row in rows if "error" in row]
        if failed:
            lines += ["Rows that failed:", ""]
            lines += markdown(["method", "row", "error"], [[row["method"], row["name"], cell(row["error"])]
                                                            for row in failed])
    write_report(path, lines)


def header(recipe: dict) -> list[str]:
    texts = [[text["name"], text["source"], text["use"]] for text in recipe["texts"]]
    if "calibrate" in recipe:
        texts.append([recipe["calibrate"]["name"], recipe["calibrate"]["source"], recipe["calibrate"]["use"]])
    bench = recipe["bench"]
    return [f"All rows are measured alike by `rondo eval` and `rondo bench`, `--type {recipe['type']} --threads "
            f"{recipe['threads']}`. Perplexity: the first {recipe['max_tokens']} tokens of each text, windows of "
            f"{recipe['context']} that do not overlap; models with other tokenizers cannot be compared by it. Tasks: "
            f"the first {recipe['limit']} records, acc_norm or, of LAMBADA, acc; the standard error is about "
            f"{50 / math.sqrt(recipe['limit']):.1f} points. Decode: the fastest of {bench['repeat']} repeats of "
            f"{bench['decode']} tokens. Memory: the largest resident set of that run.", ""] + markdown(
                ["text", "what it is", "what it is used for"], texts)


def cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def mean_perplexity(point: dict) -> float | None:
    """The geometric mean over the texts; None before it is measured or where a text overflows."""
    values = list(point.get("perplexity", {}).values())
    return math.exp(sum(map(math.log, values)) / len(values)) if values and None not in values else None


def shown_perplexity(value: float | None) -> str:
    return "overflow" if value is None else f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def shown_types(types: dict) -> str:
    """Types by their share of the bytes; norms and the like are left out."""
    total = sum(types.values())
    shares = sorted(((size / total, name) for name, size in types.items()), reverse=True)
    return ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares if share >= 0.005)


def shown_training(point: dict) -> str:
    parts = [f"{point['minutes']:g} min" if "minutes" in point else "",
             f"{point['tokens'] / 1e6:.2f}M tokens" if "tokens" in point else "",
             f"seed {point['seed']}" if "seed" in point else ""]
    return ", ".join(filter(None, parts)) or "–"


def table(recipe: dict, rows: list[dict]) -> tuple[list, list]:
    texts = [text["name"] for text in recipe["texts"]]
    tasks = list(dict.fromkeys(task for row in rows for task in row.get("tasks", {})))
    trained = any(key in row for row in rows for key in ("minutes", "tokens", "seed"))
    head = ["method", "row", "MB", "stored as", *texts, *(NAMES.get(task, task) for task in tasks), "decode, tok/s",
            "memory, MB"] + (["training"] if trained else [])
    body = []
    for row in sorted(rows, key=lambda row: (-row["bytes"], row["key"])):
        scores = [row.get("tasks", {}).get(task) for task in tasks]
        bench = row.get("bench")
        body.append([row["method"], cell(row["name"]), f"{row['bytes'] / 1e6:.1f}", shown_types(row["types"]),
                     *(shown_perplexity(row["perplexity"][name]) if "perplexity" in row else "–" for name in texts),
                     *(f"{100 * score.get('acc_norm', score['acc']):.1f}" if score else "–" for score in scores),
                     f"{bench['decode_tok_per_s']:.0f}" if bench else "–",
                     f"{bench['peak_memory_bytes'] / 1e6:.0f}" if bench else "–"]
                    + ([shown_training(row)] if trained else []))
    return head, body


class Panel:
    """One model: bytes to the right, mean perplexity upwards on a logarithmic axis."""

    def __init__(self, left: float, title: str, points: list[dict], colors: dict):
        self.left, self.title, self.colors = left, title, colors
        self.points = [(point["bytes"] / 1e6, mean_perplexity(point), point) for point in points]
        best = min(value for _, value, _ in self.points)
        # Ruined models would press all others together: they stand at the upper edge.
        self.top = min(max(value for _, value, _ in self.points), 2.5 * best) * 1.03
        self.bottom = best * 0.97
        sizes = [size for size, _, _ in self.points]
        margin = 0.06 * (max(sizes) - min(sizes)) + 0.01 * max(sizes)
        self.low, self.high = min(sizes) - margin, max(sizes) + margin

    def x(self, size: float) -> float:
        return self.left + WIDTH * (size - self.low) / (self.high - self.low)

    def y(self, value: float) -> float:
        value = min(value, self.top)
        return TOP + HEIGHT * math.log(self.top / value) / math.log(self.top / self.bottom)

    def frame(self) -> list[str]:
        out = [f'<rect x="{self.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
               text(self.left + WIDTH / 2, TOP - 12, self.title, extra='font-weight="bold"'),
               text(self.left + WIDTH / 2, TOP + HEIGHT + 36, "bytes of the file, MB")]
        for value in ticks(self.bottom, self.top):
            if self.bottom <= value <= self.top:
                out += [f'<path d="M{self.left} {self.y(value):.1f}h{WIDTH}" stroke="#ddd"/>',
                        text(self.left - 6, self.y(value) + 4, f"{value:g}", "end")]
        step = next(s for s in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e4, 1e5)
                    if s * 8 >= self.high - self.low)
        for i in range(math.ceil(self.low / step), int(self.high / step) + 1):
            out += [f'<path d="M{self.x(i * step):.1f} {TOP}v{HEIGHT}" stroke="#eee"/>',
                    text(self.x(i * step), TOP + HEIGHT + 18, f"{i * step:g}")]
        return out

    def draw(self) -> list[str]:
        out = self.frame()
        for method, color in self.colors.items():
            mine = sorted((entry for entry in self.points if entry[2]["method"] == method), key=lambda entry: entry[0])
            path = " ".join(f"{self.x(size):.1f},{self.y(value):.1f}" for size, value, _ in mine)
            out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-opacity="0.4"/>')
            for size, value, point in mine:
                x, y, right = self.x(size), self.y(value), self.x(size) < self.left + 0.75 * WIDTH
                name = point["name"] + ("" if value <= self.top else f" ↑ {value:,.0f}")
                title = html.escape(f"{method}, {point['name']}: {size:.1f} MB, {value:,.2f}")
                out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{title}</title></circle>',
                        text(x + (7 if right else -7), y - 4, name, "start" if right else "end",
                             f'font-size="9" fill="{color}"')]
        return out


def picture(recipe: dict, points: list[dict]) -> str:
    drawn = [point for point in points if "error" not in point and mean_perplexity(point) is not None]
    methods = list(dict.fromkeys(point["method"] for point in sorted(drawn, key=lambda point: point["key"])))
    colors = {method: COLORS[i % len(COLORS)] for i, method in enumerate(methods)}
    by_model = [(model["name"], [point for point in drawn if point["model"] == model["name"]])
                for model in recipe["models"]]
    by_model = [(name, mine) for name, mine in by_model if mine]
    panels = [Panel(LEFT + i * (WIDTH + LEFT), name, mine, colors) for i, (name, mine) in enumerate(by_model)]
    legend = LEFT + len(panels) * (WIDTH + LEFT) - 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{legend + 190}" height="{TOP + HEIGHT + 50}" '
           'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>',
           text(0, 0, "perplexity, geometric mean of the texts",
                extra=f'transform="translate(18 {TOP + HEIGHT / 2}) rotate(-90)"')]
    for panel in panels:
        out += panel.draw()
    for i, (method, color) in enumerate(colors.items()):
        out += [f'<circle cx="{legend}" cy="{TOP + 14 + 18 * i}" r="4" fill="{color}"/>',
                text(legend + 12, TOP + 18 + 18 * i, method, "start")]
    return "\n".join(out) + "\n</svg>\n"
