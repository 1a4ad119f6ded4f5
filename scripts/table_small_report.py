"""The report of table_small.py: tables, orderings beside the published ones, a picture; all figures from the runs."""

import math
import pathlib
import statistics

import table_plot
from tables import markdown, write_report

SETTINGS = """\
Base: {layers} layers of width {width}, {base_parameters:,} non-embedding parameters, vocabulary {vocab},
{base_tokens:,} tokens in {base_minutes:.1f} minutes, seed 0. Uptraining: {tokens:,} tokens in rows of {length},
{batch} rows a step, learning rate {lr:g}, cosine, all parameters, seed 0 unless said; one thread each. {runs} runs.

Texts: see the recipe; uptraining and base share no article. Perplexity: the first {valid_tokens:,} tokens of articles
that no training saw, windows of {context} without overlap.

Base and uptraining are short (published: 15 billion tokens after a full pretraining), so a fold ends near where it
began: orderings say more about starts than about what long training makes of them.
"""

TABLE = """\
Cycle, norms {norms}, cross-entropy only. Perplexity after the uptraining, in brackets as folded. SVD and zero: how
residuals start. With `lower` and `stepwise` the two are one function at the depths whose matrices are the shared
ones, and differ at the others. At rank 0 there is nothing to start.
"""

NOISE = """\
The same runs with other orders of the rows (and another random `a` where residuals start at zero). The base is one:
nothing here says how another base would come out.
"""

POOLED = """\
Pooled standard deviation of ln perplexity: {noise:.4f}, or {percent:.2f} % of perplexity. Below, two single runs
differ where ln perplexity does by more than 2 · √2 of it, {threshold:.1f} %.
"""

ORDERINGS = """\
The first of a pair should be lower. Published: Gemma-2B, TinyLlama and Pythia-1B, two loops, 15B tokens (loops from
scratch and from stepwise layers: Pythia-410M). A tie is a difference within the noise above.
"""

EXITS = """\
Post-training: the finished fold on as many further tokens, with losses behind the earlier loops through the same norm
and head; `control` has the further tokens only. `kd`: half of each exit's loss is KL from the detached last output.
Joint: exit losses from the fold on, for as many tokens as both trainings together. Perplexity if every token left
after a loop.
"""

EXIT_COST = """\
The last output with trained exits against the control (published: the aggressive loss costs it nothing):
"""

OTHERS = """\
Norms `own` (each depth its own gains) and `absorbed` are this project's; with `middle-*` the first and last layers
are not shared, so these folds are larger.
"""

STARTS = {"svd": "SVD", "zero": "zero", "": "none"}
VERDICTS = ("holds", "tie", "reversed", "not run")


def perplexity(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def millions(count: float) -> str:
    return f"{count / 1e6:.2f}M"


class Report:
    def __init__(self, recipe: dict, done: dict, wanted: list[str]):
        self.recipe, self.done, self.wanted = recipe, done, wanted
        self.loops = recipe["table"]["loops"]
        self.ranks = recipe["table"]["ranks"]
        self.middle = self.ranks[recipe["table"]["middle"]]

    def after(self, key: str) -> float | None:
        return self.done[key]["after"] if key in self.done else None

    def row(self, key: str, name: str | None = None) -> list[str]:
        entry = self.done.get(key)
        if entry is None:
            return [name or key, "–", "–", "–", "–"]
        return [name or key, millions(entry["parameters"]), f"{entry['tokens']:,}", perplexity(entry["before"]),
                perplexity(entry["after"])]

    HEADER = ["run", "non-embedding parameters", "tokens", "at the start", "at the end"]

    # Noise

    def repeats(self, key: str) -> list[float]:
        keys = [key] + [f"{key} seed={seed}" for seed in self.recipe["table"]["seeds"]]
        return [self.done[k]["after"] for k in keys if k in self.done]

    def noise(self) -> float | None:
        """Standard deviation of ln perplexity between seeds, pooled over the repeated runs."""
        groups = [[math.log(value) for value in self.repeats(key)] for key in self.recipe["table"]["repeated"]]
        groups = [group for group in groups if len(group) > 1]
        if not groups:
            return None
        freedom = sum(len(group) - 1 for group in groups)
        return math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in groups) / freedom)

    def noise_lines(self) -> list[str]:
        noise = self.noise()
        if noise is None:
            return []
        rows = []
        for key in self.recipe["table"]["repeated"]:
            values = self.repeats(key)
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            rows.append([key, ", ".join(perplexity(v) for v in values), f"{statistics.mean(values):.2f}",
                         f"{spread:.2f}"] if values else [key, "–", "–", "–"])
        return ["## Noise", "", NOISE, *markdown(["run", "perplexity by seed", "mean", "standard deviation"], rows),
                POOLED.format(noise=noise, percent=100 * noise, threshold=100 * self.threshold())]

    def threshold(self) -> float:
        noise = self.noise()
        return float("nan") if noise is None else 2 * math.sqrt(2) * noise

    # Tables

    def main_lines(self) -> list[str]:
        lines = ["## The table", "", TABLE.format(norms=self.recipe["table"]["norms"])]
        for loops in self.loops:
            sizes = [self.size(loops, rank) for rank in self.ranks]
            header = [f"B = {loops}: start", "residuals"] + [f"rank {r}, {s}" for r, s in zip(self.ranks, sizes)]
            rows = []
            for start in self.recipe["table"]["starts"]:
                for residual in ("svd", "zero"):
                    cells = [self.cell(f"B={loops} {start} r={rank}" + (f" {residual}" if rank else ""))
                             if rank or residual == "svd" else "" for rank in self.ranks]
                    rows.append([start, STARTS[residual], *cells])
            lines += markdown(header, rows)
        return lines

    def size(self, loops: int, rank: int) -> str:
        keys = [f"B={loops} {start} r={rank}" + (" svd" if rank else "") for start in self.recipe["table"]["starts"]]
        return next((millions(self.done[key]["parameters"]) for key in keys if key in self.done), "–")

    def cell(self, key: str) -> str:
        entry = self.done.get(key)
        return "–" if entry is None else f"**{perplexity(entry['after'])}** ({perplexity(entry['before'])})"

    def baseline_lines(self) -> list[str]:
        layers = self.recipe["init"]["layers"]
        rows = [self.row("base", f"base: {layers} layers from scratch"),
                self.row("full", "the base, trained on the same further tokens")]
        for loops in self.loops:
            few = layers // loops
            rows += [self.row(f"scratch {few} layers", f"{few} layers from scratch"),
                     self.row(f"scratch {few} layers looped", f"{few} layers from scratch, {loops} loops"),
                     self.row(f"cut {few} layers", f"{few} layers of the base, stepwise, no loop")]
        few = layers // min(self.loops)
        rows.append(self.row(f"scratch {few} layers long", f"{few} layers from scratch, on the base's text"))
        return ["## Baselines", "", *markdown(self.HEADER, rows)]

    def distillation_lines(self) -> list[str]:
        source = f"B=2 average r={self.middle} svd"
        rows = [self.row(source, f"{source}: cross-entropy"),
                self.row(f"{source} half kd", "½ cross-entropy + ½ forward KL")]
        rows += [self.row(f"{source} kd {kind}", f"{kind} only")
                 for kind in ("forward-kl", "reverse-kl", "jensen-shannon", "total-variation")]
        rows += [self.row("B=2 stepwise r=0", "B=2 stepwise r=0: cross-entropy"),
                 self.row("B=2 stepwise r=0 half kd", "½ cross-entropy + ½ forward KL")]
        return ["## Distillation", "", "Teacher: the base, live, temperature 1.", "", *markdown(self.HEADER, rows)]

    def exit_lines(self) -> list[str]:
        lines = ["## Exits", "", EXITS]
        for loops in self.loops:
            source = f"B={loops} average r={self.middle} svd"
            rows = []
            for name in ("exits control", "exits weighted", "exits weighted kd", "exits aggressive",
                         "exits aggressive kd", "joint weighted", "joint aggressive"):
                values = self.done.get(f"{source} {name}", {}).get("loop_perplexity", [None] * loops)
                rows.append([name.removeprefix("exits "), *map(perplexity, values)])
            lines += markdown([source] + [f"loop {i + 1}" for i in range(loops - 1)] + ["end"], rows)
        return lines

    def other_lines(self) -> list[str]:
        rows = []
        for key in ("B=2 stepwise r=0", f"B=2 average r={self.middle} svd"):
            rows.append(self.row(key))
            rows += [self.row(k) for k in self.wanted if k.startswith(key + " ") and k.split(" ")[-1] in (
                "norms=own", "norms=absorbed", "sequence", "middle-cycle", "middle-sequence")]
        return ["## Norms and orders", "", OTHERS, *markdown(self.HEADER, rows)]

    # Orderings

    def claims(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """What is published, its figures (Gemma, TinyLlama, Pythia-1B; loops: Pythia-410M), and the pairs here of
        which the first should be lower."""
        both, some = self.loops, [rank for rank in self.ranks if rank]
        source, layers = f"average r={self.middle} svd", self.recipe["init"]["layers"]
        svd = lambda start, b, r: f"B={b} {start} r={r} svd"
        ladder = lambda b: [f"B={b} average r={r}" + (" svd" if r else "") for r in self.ranks]
        return [
            ("No residuals: stepwise below average", "12.85 / 15.15, 11.61 / 11.86, 16.38 / 16.76",
             [(f"B={b} stepwise r=0", f"B={b} average r=0") for b in both]),
            ("No residuals: stepwise below lower", "12.85 / 15.03, 11.61 / 14.67, 16.38 / 17.04",
             [(f"B={b} stepwise r=0", f"B={b} lower r=0") for b in both]),
            ("No residuals: stepwise below random", "stated",
             [(f"B={b} stepwise r=0", f"B={b} random r=0") for b in both]),
            ("With residuals (SVD): average below stepwise", "stated",
             [(svd("average", b, r), svd("stepwise", b, r)) for b in both for r in some]),
            ("With residuals (SVD): average below lower", "stated",
             [(svd("average", b, r), svd("lower", b, r)) for b in both for r in some]),
            ("Average: SVD start below zero start", "11.83 / 13.78, 10.46 / 11.28, 14.70 / 15.97",
             [(svd("average", b, r), f"B={b} average r={r} zero") for b in both for r in some]),
            ("Average: higher rank, lower perplexity",
             "0, 64, 128, 256, 512: 15.15, 12.83, 12.52, 12.10, 11.83; all three",
             [(high, low) for b in both for low, high in zip(ladder(b), ladder(b)[1:])]),
            ("Two loops below three, same start and rank", "expected",
             [("B=2 stepwise r=0", "B=3 stepwise r=0")] + [(svd("average", 2, r), svd("average", 3, r)) for r in some]),
            ("Full size below the best fold", "10.76 / 11.83, 13.46 / 14.70; TinyLlama: no, 12.26 / 10.46",
             [("full", ladder(2)[-1])]),
            ("Fold below the same size from scratch on the same tokens", "12.85 / 22.63, 11.61 / 16.61, 16.38 / 25.69",
             [(f"B={b} stepwise r=0", f"scratch {layers // b} layers") for b in both]),
            ("From scratch: loops below no loops", "13.81 / 14.11",
             [(f"scratch {layers // b} layers looped", f"scratch {layers // b} layers") for b in both]),
            ("Stepwise layers of the base: loops below no loops", "11.03 / 11.48",
             [(f"B={b} stepwise r=0", f"cut {layers // b} layers") for b in both]),
            ("Half distillation below cross-entropy alone", "stated",
             [("B=2 " + source + " half kd", "B=2 " + source), ("B=2 stepwise r=0 half kd", "B=2 stepwise r=0")]),
            ("Forward KL below the other divergences", "stated",
             [("B=2 " + source + " kd forward-kl", f"B=2 {source} kd {kind}")
              for kind in ("reverse-kl", "jensen-shannon", "total-variation")]),
            ("Exits, last output: aggressive below weighted", "stated",
             [(f"B={b} {source} exits aggressive", f"B={b} {source} exits weighted") for b in both]),
            ("Exits, last output: post-training below joint training", "stated",
             [(f"B={b} {source} exits {kind}", f"B={b} {source} joint {kind}")
              for b in both for kind in ("weighted", "aggressive")]),
        ]

    def exit_claims(self) -> list[tuple[str, str, list[tuple[str, float, float]]]]:
        """The same for the first loop's exit, and for what the last output loses."""
        first = {}
        for b in self.loops:
            for name in ("control", "weighted", "weighted kd", "aggressive", "aggressive kd"):
                values = self.done.get(f"B={b} average r={self.middle} svd exits {name}", {}).get("loop_perplexity")
                first[b, name] = values[0] if values else None
        pair = lambda a, b: [(f"B={n}: {a} / {b}", first[n, a], first[n, b]) for n in self.loops]
        return [("Exits, first loop: weighted below aggressive", "expected", pair("weighted", "aggressive")),
                ("Exits, first loop: distillation below none", "stated",
                 pair("weighted kd", "weighted") + pair("aggressive kd", "aggressive"))]

    def verdict(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return "not run"
        difference = math.log(low / high)
        if abs(difference) <= self.threshold():
            return "tie"
        return "holds" if difference < 0 else "reversed"

    def ordering_lines(self) -> list[str]:
        rows = []
        claims = [(text, source, [(f"{a} / {b}", self.after(a), self.after(b)) for a, b in pairs])
                  for text, source, pairs in self.claims()] + self.exit_claims()
        for text, source, pairs in claims:
            verdicts = [self.verdict(low, high) for _, low, high in pairs]
            count = ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)
            detail = "; ".join(f"{name}: {perplexity(low)} / {perplexity(high)}, {verdict}"
                               for (name, low, high), verdict in zip(pairs, verdicts) if verdict != "not run")
            rows.append([text, source, f"**{count}**", detail])
        return ["## Orderings", "", ORDERINGS, *markdown(["ordering", "published", "here", "pairs"], rows),
                *self.exit_cost_lines()]

    def exit_cost_lines(self) -> list[str]:
        rows = []
        for loops in self.loops:
            source = f"B={loops} average r={self.middle} svd exits"
            control = self.after(f"{source} control")
            for name in ("weighted", "weighted kd", "aggressive", "aggressive kd"):
                value = self.after(f"{source} {name}")
                if control and value:
                    change = 100 * (value / control - 1)
                    verdict = "within noise" if abs(math.log(value / control)) <= self.threshold() else \
                        ("higher" if value > control else "lower")
                    rows.append([f"B={loops} {name}", f"{change:+.1f} %", verdict])
        if not rows:
            return []
        return [EXIT_COST, *markdown(["exits", "last output", ""], rows)]

    def setting_lines(self) -> list[str]:
        r, base = self.recipe, self.done.get("base", {})
        runs = [key for key in self.wanted if key in self.done]
        missing = len(self.wanted) - len(runs)
        text = SETTINGS.format(
            layers=r["init"]["layers"], width=r["init"]["d_model"], base_parameters=base.get("parameters", 0),
            vocab=r["text"]["vocab"], base_tokens=base.get("tokens", 0), base_minutes=base.get("seconds", 0) / 60,
            tokens=r["uptrain"]["tokens"], length=r["text"]["length"], batch=r["uptrain"]["batch"],
            lr=r["uptrain"]["lr"], runs=len(runs),
            valid_tokens=r["valid"]["max_tokens"], context=r["valid"]["context"])
        return [text] + ([f"**{missing} of {len(self.wanted)} runs are missing (–).**", ""] if missing else [])

    def lines(self, picture: str) -> list[str]:
        return [*self.setting_lines(), f"![Size against perplexity]({picture})", "", *self.main_lines(),
                *self.baseline_lines(), *self.noise_lines(), *self.ordering_lines(), *self.distillation_lines(),
                *self.exit_lines(), *self.other_lines()]

    def curves(self, loops: int) -> list[tuple[str, list[tuple[float, float]]]]:
        curves = []
        for start in self.recipe["table"]["starts"]:
            for residual in ("svd", "zero"):
                keys = [f"B={loops} {start} r={rank}" + (f" {residual}" if rank else "") for rank in self.ranks]
                points = [(self.done[k]["parameters"], self.done[k]["after"]) for k in keys if k in self.done]
                curves.append((f"{start}, {STARTS[residual]}", points))
        return curves

    def marks(self, loops: int) -> list[tuple[str, float, float]]:
        few = self.recipe["init"]["layers"] // loops
        names = {"full": "full size", f"scratch {few} layers": "from scratch", f"cut {few} layers": "stepwise, no loop",
                 f"scratch {few} layers looped": "from scratch, loops"}
        return [(name, self.done[key]["parameters"], self.done[key]["after"])
                for key, name in names.items() if key in self.done]


def write(recipe: dict, done: dict, wanted: list[str], path: pathlib.Path) -> None:
    report, picture = Report(recipe, done, wanted), path.with_suffix(".svg")
    write_report(path, report.lines(picture.name))
    panels = [(f"B = {b}", report.curves(b), report.marks(b)) for b in report.loops]
    picture.write_text(table_plot.plot(panels, "non-embedding parameters, millions", "perplexity after uptraining"))
