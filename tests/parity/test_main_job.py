"""The main job as a user does it: the command line, from a real model to folded and exported ones."""

import itertools
import math

import numpy as np
import pytest

PROMPT = "Once upon a time"
ORDERS = ["cycle", "sequence", "middle-cycle", "middle-sequence"]
INITS = ["stepwise", "average", "lower", "upper", "random"]


@pytest.fixture(scope="module")
def story_text(tmp_path_factory):
    """Text of the kind that stories260K was trained on."""
    path = tmp_path_factory.mktemp("story") / "text.txt"
    path.write_text("Once upon a time, there was a little girl named Lily. She loved to play outside "
                    "in the park. One day, she saw a big red ball. She wanted to play with it, but it "
                    "was too high. Her mom said, \"Lily, let's go to the park.\" Lily was sad.\n" * 2)
    return path


def story(rondo, model, seed: int) -> str:
    """One that the model tells."""
    flags = ["--temperature", 1, "--seed", seed, "--max-tokens", 400]
    return rondo.json("generate", model, "--prompt", PROMPT, *flags)["text"]


def logit_tolerance(width: int, depth: int, scale: float) -> float:
    """f32 rounding of `depth` layers of sums over `width` terms, for logits of size `scale`.

    Every sum of n terms carries a relative error of about eps * sqrt(n); a full-rank residual replaces
    one product by a shared product, two factors of a decomposition and their sum, whose terms are up to
    ten times larger than the result. Errors of the layers add up like a random walk.
    """
    eps = np.finfo(np.float32).eps
    return 10 * eps * math.sqrt(width) * math.sqrt(4 * depth) * scale


@pytest.mark.parametrize("order,init,norms", itertools.product(ORDERS, INITS, ["own", "absorbed"]))
def test_full_rank_fold_is_the_original(rondo, stories, story_text, tmp_path, order, init, norms):
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--order", order, "--init", init,
               "--norms", norms, "--rank", 100000)
    d = rondo.json("compare", stories, tmp_path / "fold", "--text", story_text, "--context", 128)
    assert d["positions"] > 100
    assert d["max_abs_logit_diff"] < logit_tolerance(172, 5, d["max_abs_logit"])
    assert d["top1_agreement"] == 1


def test_rank_decides_how_far_a_fold_is_from_the_original(rondo, stories, story_text, tmp_path):
    divergence = []
    for rank in (0, 8, 32, 64):
        residual = ["--residual", "none"] if rank == 0 else ["--rank", rank]
        rondo.json("fold", stories, "--out", tmp_path / "fold", "--init", "average", *residual)
        d = rondo.json("compare", stories, tmp_path / "fold", "--text", story_text, "--context", 128)
        divergence.append(d["kl"])
    assert divergence == sorted(divergence, reverse=True)
    assert divergence[0] > 0.5 and divergence[-1] < 1e-6


def test_norms_tied_as_published_break_a_full_rank_fold(rondo, stories, story_text, tmp_path):
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--norms", "tied", "--rank", 100000)
    d = rondo.json("compare", stories, tmp_path / "fold", "--text", story_text, "--context", 128)
    assert d["kl"] > 1e-3


def test_inspect_counts_a_plan_before_and_after_folding(rondo, stories, tmp_path):
    flags = ["--order", "middle-cycle", "--rank", "attention=4,ffn=16"]
    before = rondo.json("inspect", stories, *flags)
    fold = rondo.json("fold", stories, "--out", tmp_path / "fold", *flags)
    after = rondo.json("inspect", tmp_path / "fold")
    for key in ("parameters_total", "parameters_non_embedding", "parameters_residual", "plan"):
        assert before[key] == after[key], key
    assert fold["parameters_non_embedding"] == after["parameters_non_embedding"]
    plain = rondo.json("inspect", stories)
    assert plain["parameters_non_embedding"] == plain["parameters_logical"] == before["parameters_logical"]


@pytest.mark.parametrize("flags", [
    ["--order", "attention=cycle,ffn=middle-sequence", "--loops", "attention=3,ffn=2"],
    ["--order", "attention=middle-sequence,ffn=middle-sequence,norms=middle-cycle", "--norms", "tied"],
    ["--residual", "lora-diag", "--rank", "4"],
    ["--residual", "dora", "--rank", "4"],
    ["--residual", "muldiag"],
    ["--residual", "kronecker", "--rank", "2"],
])
def test_every_kind_of_fold_is_saved_loaded_and_run(rondo, stories, story_text, tmp_path, flags):
    fold = rondo.json("fold", stories, "--out", tmp_path / "fold", *flags)
    shown = rondo.json("inspect", tmp_path / "fold")
    assert shown["parameters_non_embedding"] == fold["parameters_non_embedding"]
    assert fold["parameters_shared"] < fold["parameters_logical"]
    # The unrolled export computes the same function by one dense matrix a layer.
    rondo.json("export", tmp_path / "fold", "--format", "hf", "--out", tmp_path / "plain")
    d = rondo.json("compare", tmp_path / "fold", tmp_path / "plain", "--text", story_text,
                   "--context", 128)
    assert d["max_abs_logit_diff"] < logit_tolerance(172, 5, d["max_abs_logit"])


def test_calibrated_fold_is_nearer_than_one_from_weights_alone(rondo, stories, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(story(rondo, stories, seed) + "\n" for seed in range(8)))
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(story(rondo, stories, 100))
    kl = []
    for calibrate in ([], ["--calibrate", text]):
        rondo.json("fold", stories, "--out", tmp_path / "fold", "--rank", 8, *calibrate)
        kl.append(rondo.json("compare", stories, tmp_path / "fold", "--text", held_out,
                             "--context", 256)["kl"])
    assert kl[1] < 0.7 * kl[0]


def test_suggested_plans_fold_to_the_perplexity_they_promise(rondo, stories, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(story(rondo, stories, seed) + "\n" for seed in range(12)))
    report = rondo.json("fold", stories, "--out", tmp_path / "plans", "--suggest", "--rank", 8,
                        "--calibrate", text)
    sizes = [s["parameters_non_embedding"] for s in report["suggestions"]]
    assert len(sizes) >= 3 and sizes == sorted(sizes, reverse=True)
    for picture in ("similarity.svg", "tie_loss.svg"):
        assert (tmp_path / "plans" / picture).read_text().startswith("<svg")
    for suggestion in report["suggestions"]:
        shown = rondo.json("inspect", stories, "--plan", suggestion["plan"])
        assert shown["parameters_non_embedding"] == suggestion["parameters_non_embedding"]
        fold = rondo.json("fold", stories, "--out", tmp_path / "fold", "--plan", suggestion["plan"],
                          "--calibrate", text)
        assert fold["parameters_non_embedding"] == suggestion["parameters_non_embedding"]
        assert suggestion["bytes_bf16"] < report["bytes_bf16"]
        assert f"--plan {suggestion['plan']}" in suggestion["command"] and str(text) in suggestion["command"]
    assert report["parameters_non_embedding"] > sizes[0]
    assert all(s["perplexity"] >= 0.98 * report["perplexity"] for s in report["suggestions"])


def test_a_suggestion_says_what_it_means_and_what_comes_next(rondo, stories, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(story(rondo, stories, 1))
    shown = rondo.run("fold", stories, "--out", tmp_path / "plans", "--suggest", "--rank", 8, "--calibrate", text)
    original = next(line for line in shown.stdout.splitlines() if line.startswith("original"))
    assert len(original.split()) == 4  # name, parameters, bytes, perplexity
    assert "first-order estimate" in shown.stdout and "bytes as bf16" in shown.stdout
    assert "fewer than" in shown.stderr and "perplexities say little" in shown.stderr
    commands = [line.split() for line in shown.stdout.splitlines() if line.startswith("  rondo fold")]
    rondo.run(*commands[0][1:])
    assert (tmp_path / "plans-plan-1" / "config.json").exists()
    rondo.run("fold", stories, "--out", tmp_path / "plans", "--suggest", "--rank", 8, "--calibrate", text)  # again


def test_a_plan_is_taken_from_another_fold(rondo, stories, tmp_path):
    first = rondo.json("fold", stories, "--out", tmp_path / "first", "--order", "middle-cycle", "--rank", 8)
    for model in (tmp_path / "first", tmp_path / "first" / "config.json"):
        again = rondo.json("fold", stories, "--out", tmp_path / "again", "--plan", model)
        assert again["parameters_non_embedding"] == first["parameters_non_embedding"]
        assert again["order"] == first["order"]
    plain = rondo.run("fold", stories, "--out", tmp_path / "x", "--plan", stories, check=False)
    assert plain.returncode != 0


def test_a_fold_of_a_fold_names_the_command_that_unrolls(rondo, stories, tmp_path):
    rondo.run("fold", stories, "--out", tmp_path / "fold", "--rank", 8)
    refused = rondo.run("fold", tmp_path / "fold", "--out", tmp_path / "again", check=False)
    command = f"rondo export {tmp_path / 'fold'} --format hf"
    assert refused.returncode == 1 and command in refused.stderr


def test_ranks_are_spread_within_their_budget(rondo, stories, tmp_path):
    options = ["--order", "sequence", "--rank", 8]
    planned = rondo.json("fold", stories, "--out", tmp_path / "equal", *options)["parameters_residual"]
    text = tmp_path / "text.txt"
    text.write_text("".join(story(rondo, stories, seed) + "\n" for seed in range(6)))
    spread = rondo.json("fold", stories, "--out", tmp_path / "spread", *options, "--calibrate", text,
                        "--allocate-ranks")["parameters_residual"]
    assert 0.9 * planned <= spread <= planned
    modules = rondo.json("inspect", tmp_path / "spread")["plan"]["modules"]
    ranks = {rank for module in modules.values() for rank in np.atleast_1d(module.get("rank", []))}
    # Half of what was asked for is the least; the fifth layer is alone.
    assert len(ranks) > 3 and min(ranks - {0}) == 4
    assert rondo.json("generate", tmp_path / "spread", "--prompt", PROMPT, "--max-tokens", 8)["text"]
    refused = rondo.run("fold", stories, "--out", tmp_path / "none", *options, "--allocate-ranks", check=False)
    assert refused.returncode != 0 and "--calibrate" in refused.stderr


def test_generate_is_the_same_from_the_original_and_a_full_rank_fold(rondo, stories, tmp_path):
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--rank", 100000)
    texts = [rondo.json("generate", model, "--prompt", PROMPT, "--max-tokens", 60)["text"]
             for model in (stories, tmp_path / "fold")]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 50


def test_a_seed_repeats_and_another_seed_differs(rondo, stories):
    def text(seed):
        return rondo.json("generate", stories, "--prompt", PROMPT, "--temperature", 1, "--top-p", 0.9,
                          "--seed", seed, "--max-tokens", 40)["text"]
    assert text(1) == text(1)
    assert text(1) != text(2)


def test_stop_text_ends_generation_and_is_not_printed(rondo, stories):
    full = rondo.json("generate", stories, "--prompt", PROMPT, "--max-tokens", 60)["text"]
    stop = full[20:26]
    cut = rondo.json("generate", stories, "--prompt", PROMPT, "--max-tokens", 60, "--stop", stop)
    assert cut["stop_reason"] == "stop"
    assert cut["text"] == full[:full.index(stop)]


def hf_greedy(directory, tokens):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ids = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
    return tokenizer.decode(out[0][ids.input_ids.shape[1]:], skip_special_tokens=True)


def test_an_exported_fold_writes_the_same_text_in_transformers(rondo, stories, tmp_path):
    rondo.json("fold", stories, "--out", tmp_path / "fold", "--rank", 48)
    rondo.json("export", tmp_path / "fold", "--format", "hf", "--out", tmp_path / "hf")
    ours = rondo.json("generate", tmp_path / "fold", "--prompt", PROMPT, "--max-tokens", 40)["text"]
    assert hf_greedy(tmp_path / "hf", 40).strip() == ours.strip()


FAILURE, USAGE = 1, 2


@pytest.mark.parametrize("arguments,code,words", [
    (["inspect", "no-such-model"], FAILURE, ["no-such-model"]),
    (["fold", "{model}", "--out", "{out}", "--order", "cylce"], USAGE, ["--order", "cylce", "'cycle'"]),
    (["fold", "{model}", "--out", "{out}", "--loops", "99"], USAGE, ["--loops", "99"]),
    (["fold", "{model}", "--out", "{out}", "--rank", "-3"], USAGE, ["--rank", "-3"]),
    (["fold", "{model}", "--out", "{out}", "--store", "q4_0"], USAGE, ["--store", "q4_0"]),
    (["eval", "{model}", "--text", "no-such-text"], FAILURE, ["no-such-text"]),
    (["eval", "{model}", "--text", "{text}", "--context", "100000"], FAILURE, ["context", "100000"]),
    (["generate", "{model}", "--prompt", "x", "--temperature", "1", "--top-p", "-1"], FAILURE, ["top_p", "-1"]),
    (["export", "{model}", "--format", "onnx", "--out", "{out}"], USAGE, ["--format", "onnx"]),
    (["fold", "{model}", "--ordr", "cycle"], USAGE, ["'--ordr'", "'--order'"]),
    (["inspct", "{model}"], USAGE, ["'inspct'", "'inspect'"]),
])
def test_a_wrong_command_says_what_was_wrong(rondo, stories, story_text, tmp_path, arguments, code, words):
    places = {"model": stories, "text": story_text, "out": tmp_path / "out"}
    result = rondo.run(*[a.format(**places) for a in arguments], check=False)
    assert result.returncode == code
    for word in words:
        assert word in result.stderr
    assert not (tmp_path / "out").exists()


def test_fold_refuses_to_replace_what_is_no_model(rondo, stories, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    result = rondo.run("fold", stories, "--out", tmp_path / "precious", check=False)
    assert result.returncode == 1 and "precious" in result.stderr
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_doctor_reports_the_machine(rondo):
    report = rondo.json("doctor")
    assert report["cpus"] >= 1 and report["memory_bytes"] > 1 << 28
    assert 0.5 < report["memory_read_gb_per_s"] < 5000
    flags = open("/proc/cpuinfo").read()
    assert ("avx2" in report["cpu_features"]) == (" avx2" in flags)
