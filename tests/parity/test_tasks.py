"""`rondo eval --tasks` against lm-evaluation-harness on the same records, example by example."""

import json
import lzma
import math
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import DATA
from harness import TASKS, run_harness

ALL = list(TASKS)
RECORDS = DATA / "eval"
METRICS = ["acc", "acc_norm", "acc_bytes", "perplexity"]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def tricky_records():
    """Records with what the harness's prompts treat in a way of their own."""
    hellaswag = [
        # Marks of WikiHow, capitals, double spaces and blanks of many kinds.
        {"activity_label": "Home and Garden", "ctx_a": "[header] How to mow [title] Find a mower. [step] Ask  a friend.",
         "ctx_b": "", "endings": [" [substeps] Pay for it. [step] Mow.", "[title]\u00a0Mow twice.", "Mow [not\nthis] now.",
                                  "Mow   it.\u2003"], "label": "1"},
        {"activity_label": "Été", "ctx_a": "He met Ann.", "ctx_b": "she SAID Hello to Bob and", "label": "0",
         "endings": ["went to the café.", "went to the cafe.", "went to the café.", "ñ"]},
    ]
    piqa = [{"goal": "boil an egg \n", "sol1": " Put it in water.", "sol2": "Put it in “water”, naïvely.", "label": 1}]
    winogrande = [
        {"sentence": "_ gave Bob the book , because Ann had read it.", "option1": "Ann", "option2": "Bob", "answer": "1"},
        {"sentence": "Ann looked for Bob but not for _.", "option1": "Eve ", "option2": "Bob", "answer": "1"},
    ]
    labels = {"text": ["4", "four", "a lot"], "label": ["1", "2", "3"]}
    arc = [{"question": "How many legs has a dog? ", "choices": labels, "answerKey": "2"}]
    openbook = [{"question_stem": "A dog has\u00a0", "choices": labels, "answerKey": " 1"}]
    lambada = [{"text": "Hello"}, {"text": "She said to him,\n\n“Go  home"}]
    return {"hellaswag_validation": hellaswag, "piqa_labelled": piqa, "winogrande_dev": winogrande,
            "ARC-Easy_test": arc, "ARC-Challenge_test": arc, "openbookqa_test": openbook, "lambada_test": lambada}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The fixtures and the tricky records, for both programs: PIQA's labels beside the records for one,
    inside them for the other."""
    folder = tmp_path_factory.mktemp("records")
    for path in RECORDS.glob("*.jsonl"):
        shutil.copy(path, folder)
    labels = (RECORDS / "piqa_valid-labels.lst").read_text().split()
    rows = read_lines(RECORDS / "piqa_valid.jsonl")
    write_lines(folder / "piqa_labelled.jsonl", [{**row, "label": int(label)} for row, label in zip(rows, labels)])
    for name, extra in tricky_records().items():
        write_lines(folder / f"{name}.jsonl", read_lines(folder / f"{name}.jsonl") + extra)
    piqa = read_lines(folder / "piqa_labelled.jsonl")
    (folder / "piqa_valid-labels.lst").write_text("".join(f"{row.pop('label')}\n" for row in piqa))
    write_lines(folder / "piqa_valid.jsonl", piqa)
    return folder


def ours(rondo, model, names, records, state, *arguments):
    """Report, and [(log-likelihood, greedy), ...] of every example by task."""
    report = rondo.json("eval", model, "--tasks", ",".join(names), "--data", records, "--resume", state, *arguments)
    lines = read_lines(state)[1:]
    return report, {name: {line["example"]: line["scores"] for line in lines if line["task"] == name}
                    for name in {name.split(":")[0] for name in names}}


def assert_equal(report, examples, expected, tolerance):
    for name, score in expected.items():
        # The same tokens twice are kept once, under the number they had first.
        for number, scores in examples[name].items():
            assert [bool(greedy) for _, greedy in scores[0]] == [bool(greedy) for _, greedy in score.examples[number]]
            for (mine, _), (theirs, _) in zip(scores[0], score.examples[number], strict=True):
                assert mine == pytest.approx(theirs, abs=tolerance), (name, number)
        task = report["tasks"][name]
        assert task["examples"] == len(score.examples)
        for metric in METRICS:
            assert (metric in task) == (metric in score.metrics), (name, metric)
            if metric not in task:
                continue
            # A perplexity is exp of a mean likelihood, the rest are counts.
            rel = tolerance if metric == "perplexity" else 1e-12
            assert task[metric] == pytest.approx(score.metrics[metric], rel=rel), (name, metric)
            assert task[f"{metric}_stderr"] == pytest.approx(score.metrics[f"{metric}_stderr"], rel=10 * rel)


def tolerance_of(report_logit, width, depth, tokens):
    """Rounding of two f32 forwards, eps·sqrt(sums of width·4·depth terms) of the logits' size, for every token
    of a continuation and once more for its normaliser."""
    return 2 * tokens * 2**-23 * math.sqrt(width * 4 * depth) * report_logit


@pytest.fixture(scope="module")
def stories_model(rondo, stories, tmp_path_factory):
    """stories260K for the harness; its tokenizer begins texts with a token."""
    from lm_eval.models.huggingface import HFLM
    folder = tmp_path_factory.mktemp("stories") / "hf"
    rondo.json("export", stories, "--format", "hf", "--out", folder)
    return HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=4)


@pytest.mark.parametrize("shots", [0, 3])
def test_scores_are_those_of_the_harness(rondo, stories, stories_model, records, tmp_path, shots):
    expected = run_harness(stories_model, records, ALL, tmp_path, shots)
    report, examples = ours(rondo, stories, ALL, records, tmp_path / "state", "--shots", shots)
    assert_equal(report, examples, expected, tolerance_of(20, 172, 5, 60))
    assert report["mean"] == pytest.approx(sum(
        score.metrics.get("acc_norm", score.metrics["acc"]) for score in expected.values()) / len(ALL))
