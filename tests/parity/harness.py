"""lm-evaluation-harness on local records: its own task files, with JSON Lines instead of downloads.

    scores = run_harness(HFLM(...), folder_of_records, ["piqa"], folder, shots=2)
    scores["piqa"].examples[0]      # [(log-likelihood, greedy), ...] of the record's choices
    scores["piqa"].metrics["acc"]
"""

import dataclasses
import json
import lzma
import pathlib

import yaml

# Task: file of the harness, split it evaluates, file of that split and of the examples it draws.
TASKS = {
    "lambada_openai": ("lambada/lambada_openai", "test", "lambada_test", None),
    "hellaswag": ("hellaswag/hellaswag", "validation", "hellaswag_validation", "hellaswag_train"),
    "piqa": ("piqa/piqa", "validation", "piqa_labelled", "piqa_train"),
    "winogrande": ("winogrande/default", "validation", "winogrande_dev", "winogrande_train_xl"),
    "arc_easy": ("arc/arc_easy", "test", "ARC-Easy_test", "ARC-Easy_train"),
    "arc_challenge": ("arc/arc_challenge", "test", "ARC-Challenge_test", "ARC-Challenge_train"),
    "openbookqa": ("openbookqa/openbookqa", "test", "openbookqa_test", "openbookqa_train"),
}
RANKED = ["acc", "acc_norm", "acc_bytes"]


@dataclasses.dataclass
class TaskScore:
    examples: list
    metrics: dict


def write_task(name, records, folder, changes):
    import lm_eval.tasks
    source, split, evaluated, train = TASKS[name]
    files = {split: str(records / f"{evaluated}.jsonl")}
    settings = {
        "include": str(pathlib.Path(lm_eval.tasks.__file__).parent / f"{source}.yaml"),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        # The harness wants every split that it names; "validation" of ARC and OpenBookQA is not read.
        "training_split": None,
        "validation_split": split if split == "validation" else None,
    }
    if train and (records / f"{train}.jsonl").exists():
        files["train"] = str(records / f"{train}.jsonl")
        settings["training_split"] = "train"
    if name not in ("lambada_openai", "winogrande"):
        settings["metric_list"] = [
            {"metric": m, "aggregation": "mean", "higher_is_better": True} for m in RANKED]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings | changes))


def run_harness(model, records, names, folder, shots=0, limit=None, **changes):
    """`folder` takes the task files and the data sets' caches; `changes` go into the task files."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    datasets.config.HF_DATASETS_OFFLINE = True
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    datasets.disable_progress_bars()
    for name in names:
        write_task(name, records, folder, changes)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(model=model, tasks=list(names), num_fewshot=shots, limit=limit,
                              task_manager=manager, log_samples=True)
    scores = {}
    for name in names:
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        # The harness calls every metric "acc,none".
        metrics = {key.removesuffix(",none"): value for key, value in results["results"][name].items()
                   if key.endswith(",none")}
        scores[name] = TaskScore([s["filtered_resps"] for s in samples], metrics)
    return scores


def load_gguf(path):
    """A GGUF file in float32, for the harness."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer
    place, file = path.parent, path.name
    model = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32).eval()
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(place, gguf_file=file), batch_size=4)


def to_hugging_face(name, row):
    """A record of the plain forms that collections share, as the harness's data sets have it."""
    if name == "hellaswag" and "activity_label" not in row:
        activity, context = row["ctx"].split(": ", 1)
        return {"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": row["endings"],
                "label": str(row["label"])}
    if not isinstance(row.get("choices"), list):
        return row
    if name == "winogrande":
        return {"sentence": row["question"], "option1": row["choices"][0], "option2": row["choices"][1],
                "answer": str(row["label"] + 1)}
    letters = [chr(ord("A") + i) for i in range(len(row["choices"]))]
    return {"question_stem" if name == "openbookqa" else "question": row["question"],
            "choices": {"text": row["choices"], "label": letters}, "answerKey": letters[row["label"]]}


def read_records(path):
    text = path.read_bytes()
    text = lzma.decompress(text) if text.startswith(b"\xfd7zXZ") else text
    rows = [json.loads(line) for line in text.decode("utf-8").split("\n") if line.strip()]
    for labels in path.parent.glob(path.name.split(".")[0] + "[-_]labels.lst"):
        rows = [{**row, "label": int(label)} for row, label in zip(rows, labels.read_text().split(), strict=True)]
    return rows


def convert(name, path, folder):
    """Writes the records of a file where write_task expects those that a task evaluates."""
    rows = [to_hugging_face(name, row) for row in read_records(path)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{TASKS[name][2]}.jsonl").write_text(text, encoding="utf-8")
