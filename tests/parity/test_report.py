"""`rondo report` read back by an HTML parser and an XML parser, and its figures by Python."""

import csv
import html.parser
import json
import statistics
import struct
import xml.etree.ElementTree

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

VOID = {"meta", "input", "br", "link", "img"}


class Page(html.parser.HTMLParser):
    """Checks that elements nest; collects tables, pictures, texts and what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.pictures, self.fetched, self.pre = [], [], 0, [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for key, value in attributes if key in ("src", "href", "data", "action")]
        if tag == "svg":
            self.pictures += 1
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "pre":
            self.pre.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self.open, tag

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] == "pre":
            self.pre[-1] += data


def write_run(folder, steps, lr, text="Once upon <b>a time</b>\n  & more"):
    folder.mkdir(parents=True)
    lines = [{"step": s, "tokens": s * 2048, "seconds": s * 3.5, "loss": 5 - s / steps, "ce": 4 - s / steps,
              "lr": lr * s / steps, "grad_norm": 1 + s % 5, "tokens_per_s": 500 + s % 7, "alpha": 1 - s / steps,
              "resident_bytes": 2**30 + s} for s in range(1, steps + 1)]
    for line in lines[::25]:
        line["valid_perplexity"] = 1000 / line["step"] + 20
    lines.insert(40, {"step": 40, "tokens": 0, "seconds": 0, "event": "spike", "text": "loss 9 > 3 × mean"})
    lines.append({"step": steps, "tokens": steps * 2048, "seconds": steps * 3.5, "event": "sample", "text": text})
    torn = '{"step": 99999, "loss'
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    (folder / "resolved.toml").write_text(f'lr = {lr}\nmodel = "same"\n\n[data]\nfiles = ["x.txt"]\nseed = {steps}\n')
    return lines


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    lines = {name: write_run(root / name, steps, lr) for name, steps, lr in
             [("short <run>", 60, 0.001), ("long", 3000, 0.0005)]}
    return root, lines


def test_page_is_self_contained_and_well_formed(rondo, runs, tmp_path):
    root, lines = runs
    rondo.run("report", *(root / name for name in lines), "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.fetched == [] and "<script" not in text and "@import" not in text and "url(" not in text
    assert page.pictures == 3 * 8  # loss, ce, perplexity, lr, norm, speed, memory, alpha: steps, tokens, minutes
    for piece in text.split("<svg")[1:]:
        svg = xml.etree.ElementTree.fromstring("<svg" + piece[:piece.index("</svg>")] + "</svg>")
        assert len(svg.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert len(text) < 1_000_000  # dense curves are thinned
    assert page.pre == ["Once upon <b>a time</b>\n  & more"] * 2


def test_tables_hold_final_figures_and_differing_keys(rondo, runs, tmp_path):
    root, lines = runs
    rondo.run("report", *(root / name for name in lines), "--out", tmp_path / "r.html")
    figures, recipe = Page((tmp_path / "r.html").read_text(encoding="utf-8")).tables
    assert [row[0] for row in figures] == ["run", "short <run>", "long"]
    long = dict(zip(figures[0], figures[2]))
    assert long["steps"] == "3,000" and long["tokens"] == f"{3000 * 2048:,}" and long["minutes"] == "175.0"
    assert long["loss (end)"] == "4.0248"
    assert long["events"] == "1 × sample, 1 × spike"
    assert recipe == [["recipe key", "short <run>", "long"], ["data.seed", "60", "3000"], ["lr", "0.001", "0.0005"]]


def test_json_holds_the_same_figures(rondo, runs):
    root, lines = runs
    report = rondo.json("report", *(root / name for name in lines))
    assert report["recipe_differences"]["lr"] == {str(root / "short <run>"): "0.001", str(root / "long"): "0.0005"}
    for run, mine in zip(report["runs"], lines.values(), strict=True):
        losses = [line["loss"] for line in mine if "loss" in line]
        assert run["loss"] == pytest.approx(statistics.mean(losses[-(len(losses) // 20):]))
        perplexities = [line["valid_perplexity"] for line in mine if "valid_perplexity" in line]
        assert run["valid_perplexity"] == pytest.approx(perplexities[-1])
        assert run["best_valid_perplexity"] == pytest.approx(min(perplexities))
        rates = [line["tokens_per_s"] for line in mine if "tokens_per_s" in line]
        assert run["tokens_per_s"] == statistics.median_high(rates)
        assert run["peak_resident_bytes"] == max(line.get("resident_bytes", 0) for line in mine)
        assert run["events"] == {"sample": 1, "spike": 1}
        assert run["steps"] == mine[-1]["step"] and run["tokens"] == mine[-1]["tokens"]


def test_terminal_shows_a_table(rondo, runs):
    root, lines = runs
    out = rondo.run("report", root / "long").stdout.splitlines()
    assert out[0].split()[0] == "run" and out[1].split()[:3] == ["long", "3,000", f"{3000 * 2048:,}"]


def test_csv_holds_every_line(rondo, runs, tmp_path):
    root, lines = runs
    rondo.run("report", *(root / name for name in lines), "--csv", tmp_path / "runs.csv")
    with open(tmp_path / "runs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    written = [(name, line) for name, of_run in lines.items() for line in of_run]
    assert len(rows) == len(written)
    for row, (name, line) in zip(rows, written, strict=True):
        assert row["run"] == name and row["event"] == line.get("event", "") and row["text"] == line.get("text", "")
        for key in ("step", "loss", "valid_perplexity", "alpha"):
            assert (float(row[key]) if row[key] else None) == line.get(key)


def event_message():
    """The message Event of TensorBoard, as far as rondo writes it."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", syntax="proto3", package="t")

    def message(name, *fields):
        new = file.message_type.add(name=name)
        for field, number, kind in fields:
            repeated = field in ("value", "string_val")
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = new.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = kinds.TYPE_MESSAGE, ".t." + kind
            else:
                added.type = kind
    message("Shape")
    message("Tensor", ("dtype", 1, kinds.TYPE_INT32), ("tensor_shape", 2, "Shape"), ("string_val", 8, kinds.TYPE_BYTES))
    message("PluginData", ("plugin_name", 1, kinds.TYPE_STRING))
    message("Metadata", ("plugin_data", 1, "PluginData"))
    message("Value", ("tag", 1, kinds.TYPE_STRING), ("simple_value", 2, kinds.TYPE_FLOAT), ("tensor", 8, "Tensor"),
            ("metadata", 9, "Metadata"))
    message("Summary", ("value", 1, "Value"))
    message("Event", ("wall_time", 1, kinds.TYPE_DOUBLE), ("step", 2, kinds.TYPE_INT64),
            ("file_version", 3, kinds.TYPE_STRING), ("summary", 5, "Summary"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def test_event_files_hold_every_number(rondo, runs, tmp_path):
    root, lines = runs
    rondo.run("report", *(root / name for name in lines), "--tensorboard", tmp_path / "board")
    message = event_message()
    for name, written in lines.items():
        data = (tmp_path / "board" / name / "events.out.tfevents.rondo").read_bytes()
        events, at = [], 0
        while at < len(data):
            size, = struct.unpack_from("<Q", data, at)
            events.append(message.FromString(data[at + 12:at + 12 + size]))
            at += 16 + size
        assert at == len(data) and events[0].file_version == "brain.Event:2"
        values = [(event.step, value) for event in events[1:] for value in event.summary.value]
        losses = [(step, value.simple_value) for step, value in values if value.tag == "loss"]
        assert losses == [(line["step"], pytest.approx(line["loss"])) for line in written if "loss" in line]
        texts = [(value.tag, value.tensor.string_val[0].decode()) for _, value in values
                 if value.metadata.plugin_data.plugin_name == "text"]
        assert texts == [(line["event"], line["text"]) for line in written if "event" in line]
        times = [event.wall_time for event in events[1:] if event.summary.value[0].tag == "loss"]
        assert times == sorted(times) and times[-1] - times[0] == pytest.approx((len(times) - 1) * 3.5)


def test_bad_runs_are_named(rondo, tmp_path):
    for setup, message in [(lambda: None, "metrics.jsonl"),
                           (lambda: (tmp_path / "metrics.jsonl").write_text("oops\n"), "line 1"),
                           (lambda: (tmp_path / "metrics.jsonl").write_text('{"step": 1'), "no complete line")]:
        setup()
        result = rondo.run("report", tmp_path, "--out", tmp_path / "r.html", check=False)
        assert result.returncode == 1 and message in result.stderr
        assert not (tmp_path / "r.html").exists()
