"""`rondo eval --tasks` against lm-evaluation-harness on the same records, example by example."""

import json
import lzma
import math
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import DATA
from harness import TASKS, load_gguf, run_harness

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
        {"activity_label": "Home and Garden",
         "ctx_a": "[header] How to mow [title] Find a mower. [step] Ask  a friend.", "ctx_b": "",
         "endings": [" [substeps] Pay for it. [step] Mow.", "[title]\u00a0Mow twice.", "Mow [not\nthis] now.",
                                  "Mow   it.\u2003"], "label": "1"},
        {"activity_label": "Été", "ctx_a": "He met Ann.", "ctx_b": "she SAID Hello to Bob and", "label": "0",
         "endings": ["went to the café.", "went to the cafe.", "went to the café.", "ñ"]},
    ]
    piqa = [{"goal": "boil an egg \n", "sol1": " Put it in water.", "sol2": "Put it in “water”, naïvely.", "label": 1}]
    winogrande = [
        {"sentence": "_ gave Bob the book , because Ann had read it.",
         "option1": "Ann", "option2": "Bob", "answer": "1"},
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


def harness_model(model, tokenizer):
    from lm_eval.models.huggingface import HFLM
    model.config.use_cache = False
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)


@pytest.fixture(scope="module")
def one_thread():
    """Threads only get in each other's way in a model this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load_export(rondo, model, folder):
    """The model as transformers loads it from our export, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    rondo.json("export", model, "--format", "hf", "--out", folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return loaded.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("shots", [0, 3])
def test_scores_are_those_of_the_harness(rondo, stories, one_thread, records, tmp_path, shots):
    model = harness_model(*load_export(rondo, stories, tmp_path / "hf"))
    expected = run_harness(model, records, ALL, tmp_path, shots)
    report, examples = ours(rondo, stories, ALL, records, tmp_path / "state", "--shots", shots)
    assert_equal(report, examples, expected, tolerance_of(20, 172, 5, 60))
    assert report["mean"] == pytest.approx(sum(
        score.metrics.get("acc_norm", score.metrics["acc"]) for score in expected.values()) / len(ALL))


def test_a_split_may_be_evaluated_with_examples_of_its_own(rondo, stories, one_thread, records, tmp_path):
    model = harness_model(*load_export(rondo, stories, tmp_path / "hf"))
    train = {"data_files": {"train": str(records / "ARC-Easy_train.jsonl")}}
    expected = run_harness(model, records, ["arc_easy"], tmp_path, shots=2, dataset_kwargs=train, test_split="train",
                           fewshot_split="train")
    report, examples = ours(rondo, stories, ["arc_easy:train"], records, tmp_path / "state", "--shots", 2)
    assert report["tasks"]["arc_easy"]["split"] == "train"
    assert_equal(report, examples, expected, tolerance_of(20, 172, 5, 60))


@pytest.mark.parametrize("keep, cut", [(("--keep-first", 1, "--keep-last", 0), [0, 1, 2]),
                                       (("--keep-first", 0, "--keep-last", 1), [0, 1, 4])])
def test_a_loop_scores_as_the_model_cut_off_after_it(rondo, stories, one_thread, records, tmp_path, keep, cut):
    fold = tmp_path / "fold"
    rondo.json("fold", stories, "--out", fold, "--order", "middle-cycle", "--loops", 2, *keep, "--rank", 64)
    model, tokenizer = load_export(rondo, fold, tmp_path / "hf")
    names = ["piqa", "winogrande"]
    by_loop = {2: run_harness(harness_model(model, tokenizer), records, names, tmp_path)}
    model.model.layers = torch.nn.ModuleList(model.model.layers[i] for i in cut)
    by_loop[1] = run_harness(harness_model(model, tokenizer), records, names, tmp_path)
    report = rondo.json("eval", fold, "--tasks", "piqa,winogrande", "--data", records, "--loops", "all")
    for name in names:
        for scores in report["tasks"][name]["loops"]:
            expected = by_loop[scores["loop"]][name].metrics
            assert scores["acc"] == pytest.approx(expected["acc"])
            assert scores["acc_stderr"] == pytest.approx(expected["acc_stderr"])
    report, examples = ours(rondo, fold, names, records, tmp_path / "first", "--loops", 1)
    assert_equal(report, examples, by_loop[1], tolerance_of(20, 172, 3, 60))
    _, all_loops = ours(rondo, fold, names, records, tmp_path / "all", "--loops", "all")
    _, last = ours(rondo, fold, names, records, tmp_path / "last")
    for name in names:
        for number, scores in all_loops[name].items():
            assert scores == [*examples[name][number], *last[name][number]]


def normalised(row):
    """A record in the plain form of shared collections: question, choices, label."""
    if "sentence" in row:
        return {"question": row["sentence"], "choices": [row["option1"], row["option2"]],
                "label": int(row["answer"]) - 1}
    choices = row["choices"]
    return {"question": row.get("question") or row["question_stem"], "choices": choices["text"],
            "label": choices["label"].index(row["answerKey"].strip())}


def original(row):
    """A record as AI2 publishes ARC and OpenBookQA."""
    choices = [{"text": t, "label": k} for t, k in zip(row["choices"]["text"], row["choices"]["label"])]
    return {"id": "7", "question": {"stem": row.get("question") or row["question_stem"], "choices": choices},
            "answerKey": row["answerKey"]}


def test_other_forms_and_packed_files_give_the_same(rondo, stories, records, tmp_path):
    names = ["winogrande", "arc_easy", "openbookqa", "lambada"]
    expected = rondo.json("eval", stories, "--tasks", ",".join(names), "--data", records)["tasks"]
    plain = tmp_path / "plain"
    (plain / "openbookqa").mkdir(parents=True)
    for source, target, form in [("winogrande_dev", "winogrande_dev_head8", normalised),
                                 ("ARC-Easy_test", "ARC-Easy-Test", original),
                                 ("openbookqa_test", "openbookqa/test", normalised),
                                 ("lambada_test", "lambada_openai_test", dict)]:
        text = "".join(json.dumps(form(row)) + "\n\n" for row in read_lines(records / f"{source}.jsonl"))
        (plain / f"{target}.jsonl.xz").write_bytes(lzma.compress(text.encode()))
    found = rondo.json("eval", stories, "--tasks", ",".join(names), "--data", plain)["tasks"]
    assert expected.keys() == found.keys()
    for name, task in expected.items():
        assert found[name] | {"file": task["file"]} == task


def test_hellaswag_contexts_may_be_joined_already(rondo, stories, records, tmp_path):
    rows = read_lines(records / "hellaswag_validation.jsonl")
    joined = [{"ctx": f"{r['activity_label']}: {r['ctx_a']} {r['ctx_b'].capitalize()}", "endings": r["endings"],
               "label": int(r["label"])} for r in rows]
    write_lines(tmp_path / "hellaswag_val.jsonl", joined)
    _, expected = ours(rondo, stories, ["hellaswag"], records, tmp_path / "a")
    _, found = ours(rondo, stories, ["hellaswag"], tmp_path, tmp_path / "b")
    assert found == expected


def test_an_interrupted_evaluation_goes_on_where_it_was(rondo, stories, records, tmp_path):
    rows = read_lines(records / "piqa_labelled.jsonl")
    write_lines(tmp_path / "piqa_valid.jsonl", [{**row, "goal": f"{i}. {row['goal']}"}
                                                for i in range(60) for row in rows])
    flags = ["--tasks", "piqa", "--data", tmp_path]
    expected = rondo.json("eval", stories, *flags)["tasks"]["piqa"]
    state = tmp_path / "state"
    process = subprocess.Popen([rondo.binary, "eval", stories, *flags, "--resume", state, "--quiet"])
    while not state.exists() or state.stat().st_size < 10_000:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = state.read_bytes()
    for torn in (kept, kept[:-30], kept[:70], b""):
        state.write_bytes(torn)
        finished = max(torn.count(b"\n") - 1, 0)
        report = rondo.json("eval", stories, *flags, "--resume", state)
        assert report["tasks"]["piqa"] == expected | {"resumed": finished}
        assert report["scored"] == expected["examples"] - finished
        assert state.read_bytes().count(b"\n") == expected["examples"] + 1
    # Finished examples count whatever else is asked for, as long as the model is asked the same.
    report = rondo.json("eval", stories, *flags, "--resume", state, "--limit", 50)
    assert (report["tasks"]["piqa"]["resumed"], report["scored"]) == (50, 0)


@pytest.mark.parametrize("flags", [["--type", "bf16"], ["--kv", "bf16"]])
def test_a_state_of_another_run_is_refused(rondo, stories, records, tmp_path, flags):
    ours(rondo, stories, ["arc_easy"], records, tmp_path / "state")
    result = rondo.run("eval", stories, "--tasks", "arc_easy", "--data", records, "--resume", tmp_path / "state",
                       *flags, check=False)
    assert result.returncode != 0 and f"{tmp_path / 'state'}:1: run" in result.stderr


BAD_RECORDS = [
    ("lambada_test", '{"texts": "a b"}', ["lambada_test.jsonl:2: text", "missing"]),
    ("lambada_test", '{"text": "a b"', ["lambada_test.jsonl:2", "JSON"]),
    ("lambada_test", '{"text": 3}', ["lambada_test.jsonl:2: text", "a string"]),
    ("hellaswag_val", '{"ctx": "a", "endings": ["b", "c"], "label": 2}', [":2: label: value 2", "0 to 1"]),
    ("hellaswag_val", '{"ctx": "a", "endings": ["b", "c"], "label": ""}', [":2: label", "number of a choice"]),
    ("piqa_valid", '{"goal": "a", "sol1": "b", "sol2": "c"}', ["piqa_valid.jsonl:2: label", "missing"]),
    ("winogrande_dev", '{"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}',
     [":2: sentence", "a blank"]),
    ("ARC-Easy_test", '{"question": "a", "choices": {"text": ["b"], "label": ["A"]}, "answerKey": "B"}',
     [":2: answerKey: 'B'", "a label of the choices"]),
    ("ARC-Easy_test", '{"question": "a", "choices": [], "label": 0}', [":2: label"]),
]
GOOD = {"lambada_test": {"text": "a b"}, "hellaswag_val": {"ctx": "a", "endings": ["b", "c"], "label": 1},
        "piqa_valid": {"goal": "a", "sol1": "b", "sol2": "c", "label": 0},
        "winogrande_dev": {"sentence": "a _ b", "option1": "a", "option2": "b", "answer": "1"},
        "ARC-Easy_test": {"question": "a", "choices": ["b", "c"], "label": 0}}
TASK_OF = {"lambada_test": "lambada", "hellaswag_val": "hellaswag", "piqa_valid": "piqa",
           "winogrande_dev": "winogrande", "ARC-Easy_test": "arc_easy"}


@pytest.mark.parametrize("file, line, named", BAD_RECORDS)
def test_bad_records_are_named_by_file_line_and_field(rondo, stories, tmp_path, file, line, named):
    path = tmp_path / f"{file}.jsonl"
    path.write_text(json.dumps(GOOD[file]) + "\n")
    flags = ["eval", stories, "--tasks", TASK_OF[file], "--data", tmp_path]
    assert rondo.run(*flags).returncode == 0
    path.write_text(json.dumps(GOOD[file]) + "\n" + line + "\n")
    result = rondo.run(*flags, check=False)
    assert result.returncode != 0
    for part in named:
        assert part in result.stderr


def test_wrong_files_and_flags_are_refused(rondo, stories, records, tmp_path):
    def refuses(flags, *named):
        result = rondo.run("eval", stories, *flags, check=False)
        assert result.returncode != 0
        for part in named:
            assert part in result.stderr, result.stderr
    data = ["--data", records]
    refuses(["--tasks", "piqa,hellaswg", *data], "hellaswag")
    refuses(["--tasks", "piqa,piqa", *data], "again")
    refuses(["--tasks", "arc_easy:valid", *data], "validation")
    refuses(["--tasks", "arc_easy:validation", *data], "ARC-Easy_validation.jsonl")
    refuses(["--tasks", "piqa", "--data", tmp_path / "none"], "none")
    refuses(["--tasks", "piqa", *data, "--shots", 8], "shots", "at least 9")
    refuses(["--tasks", "piqa", *data, "--loops", "2"], "--loops", "1 to 1")
    refuses(["--tasks", "piqa", *data, "--stride", 4], "--stride")
    refuses(["--shots", 1], "--tasks")
    refuses([], "--text, --tasks or --speech")
    packed = lzma.compress((records / "lambada_test.jsonl").read_bytes())
    (tmp_path / "lambada_test.jsonl.xz").write_bytes(packed[:-40])
    refuses(["--tasks", "lambada", "--data", tmp_path], "lambada_test.jsonl.xz", "ends too early")
    (tmp_path / "lambada_test_2.jsonl").write_text("")
    refuses(["--tasks", "lambada", "--data", tmp_path], "several files")
    (tmp_path / "lambada_test.jsonl.xz").unlink()
    refuses(["--tasks", "lambada", "--data", tmp_path], "lambada_test_2.jsonl", "no records")
    (tmp_path / "other").write_text("some notes\n")
    refuses(["--tasks", "piqa", *data, "--resume", tmp_path / "other"], "other:1")
    assert (tmp_path / "other").read_text() == "some notes\n"


@pytest.mark.slow
@pytest.mark.parametrize("shots, limit", [(0, 8), (5, 3)])
def test_scores_of_smollm2_are_those_of_the_harness(rondo, smollm2, records, tmp_path, shots, limit):
    expected = run_harness(load_gguf(smollm2), records, ALL, tmp_path, shots, limit)
    report, examples = ours(rondo, smollm2, ALL, records, tmp_path / "state", "--shots", shots, "--limit", limit)
    # docs/results.md: logits up to 42.
    assert_equal(report, examples, expected, tolerance_of(42, 1536, 30, 30))
