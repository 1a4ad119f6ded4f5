"""Leaving loops early and drafting with them, from the command line, on a fold that is exact."""

import pytest

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def looped(rondo, stories, tmp_path_factory):
    """stories260K as depth 0, then two blocks twice; residuals of full rank give the original back."""
    out = tmp_path_factory.mktemp("looped") / "model"
    rondo.json("fold", stories, "--out", out, "--order", "middle-cycle", "--loops", 2, "--keep-last", 0,
               "--rank", 64)
    return out


def text(rondo, model, *arguments):
    return rondo.json("generate", model, "--prompt", PROMPT, "--max-tokens", 60, "--type", "f32", *arguments)


def test_drafts_do_not_change_the_text(rondo, stories, looped):
    plain = text(rondo, looped)
    assert plain["text"] == text(rondo, stories)["text"]
    assert plain["mean_loops"] == 2
    drafted = text(rondo, looped, "--draft", 3)
    assert drafted["text"] == plain["text"]
    assert 0 <= drafted["accepted"] <= drafted["drafted"] and drafted["drafted"] > 0


@pytest.mark.parametrize("policy", ["deferred", "copy-through", "last-loop"])
def test_thresholds_decide_about_loops(rondo, looped, policy):
    full = text(rondo, looped)
    never = text(rondo, looped, "--exit", "entropy", "--exit-threshold", 0, "--skipped-kv", policy)
    assert (never["text"], never["mean_loops"]) == (full["text"], 2)
    always = text(rondo, looped, "--exit-threshold", 0, "--skipped-kv", policy)
    # The first token comes from the prompt, which runs all loops.
    assert always["mean_loops"] == pytest.approx((2 + always["new_tokens"] - 1) / always["new_tokens"])
    assert text(rondo, looped, "--max-loops", 1)["mean_loops"] == 1


def test_the_curve_ends_at_the_model_itself(rondo, looped, tmp_path):
    story = tmp_path / "story.txt"
    story.write_text(rondo.json("generate", looped, "--prompt", PROMPT, "--temperature", 1, "--max-tokens",
                                200)["text"])
    picture = tmp_path / "exits.svg"
    curve = rondo.json("calibrate-exit", looped, "--text", story, "--context", 128, "--exit", "entropy",
                       "--thresholds", "0,100", "--svg", picture)
    first, last = curve["points"]
    full = rondo.json("eval", looped, "--text", story, "--context", 128)
    assert (first["mean_loops"], last["mean_loops"]) == (1, 2)
    assert last["perplexity"] == pytest.approx(full["perplexity"], rel=1e-9)
    # What the table of loops says is what the thresholds at which all or no tokens leave give.
    by_loop = [loop["perplexity"] for loop in curve["after_loop"]]
    assert by_loop == pytest.approx([first["perplexity"], last["perplexity"]], rel=1e-9)
    assert picture.read_text().startswith("<svg")


def test_the_fitted_gate_is_the_logistic_regression_of_scipy(rondo, looped, tmp_path):
    """Hidden states and answers from transformers, the minimum from scipy."""
    import numpy
    import scipy.optimize
    import torch
    import transformers
    from safetensors.numpy import load_file

    story = tmp_path / "story.txt"
    story.write_text(rondo.json("generate", looped, "--prompt", PROMPT, "--temperature", 1, "--max-tokens",
                                500)["text"])
    gated = tmp_path / "gated"
    report = rondo.json("calibrate-exit", looped, "--text", story, "--context", 64, "--fit-gate", gated)
    rondo.run("export", looped, "--format", "hf", "--out", tmp_path / "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(story.read_text())["input_ids"]
    windows = [ids[at:at + 64] for at in range(0, report["gate_tokens"], 64)]
    states, answers = [], []
    with torch.no_grad():
        for window in windows:
            out = model(torch.tensor([window]), output_hidden_states=True)
            hidden = out.hidden_states[3][0]  # behind depth 0 and the first loop of two blocks
            early = model.lm_head(model.model.norm(hidden)).argmax(-1)
            answers.append((early == out.logits[0].argmax(-1)).numpy())
            states.append((hidden / hidden.pow(2).mean(-1, keepdim=True).sqrt()).double().numpy())
    x, y = numpy.concatenate(states), numpy.concatenate(answers)
    assert len(y) == report["gate_tokens"] and 0 < y.mean() < 1
    penalty = report["gate_ridge"][0] * len(y) / 4

    def objective(parameters):
        w, b = parameters[:-1], parameters[-1]
        z = x @ w + b
        error = 1 / (1 + numpy.exp(-z)) - y
        value = numpy.logaddexp(0, numpy.where(y, -z, z)).sum() + penalty / 2 * (w @ w + b * b / 1000)
        return value, numpy.append(x.T @ error + penalty * w, error.sum() + penalty / 1000 * b)

    found = scipy.optimize.minimize(objective, numpy.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B",
                                    options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-8}).x
    tensors = load_file(gated / "model.safetensors")
    ours = numpy.append(tensors["exit_gate.0.weight"], tensors["exit_gate.0.bias"])
    # Both minimise the same strictly convex function: Newton stops at a relative gain of 1e-9.
    assert objective(ours)[0] == pytest.approx(objective(found)[0], rel=1e-7)
    numpy.testing.assert_allclose(ours, found, atol=2e-3 * abs(found).max())
    curve = rondo.json("calibrate-exit", gated, "--text", story, "--context", 64, "--exit", "gate")
    assert curve["rule"] == "gate" and curve["points"][0]["mean_loops"] == 1
    assert text(rondo, gated, "--exit", "gate", "--exit-threshold", 1)["text"] == text(rondo, looped)["text"]


def test_instruction_sets_agree_on_quantised_weights(rondo, stories, tmp_path):
    small = tmp_path / "small.gguf"
    rondo.json("quantize", stories, "--type", "q8_0", "--out", small)
    names = rondo.json("doctor")["instruction_sets"].split(", ")
    texts = {rondo.json("generate", small, "--prompt", PROMPT, "--max-tokens", 40, "--simd", name)["text"]
             for name in names}
    assert len(names) > 1 and len(texts) == 1


@pytest.mark.parametrize("flags, named", [
    (["--exit", "entropy"], "--exit-threshold"),
    (["--exit", "sometimes"], "sometimes"),
    (["--exit", "gate", "--exit-threshold", "0.5"], "exit.rule"),
    (["--exit-threshold", "1.5"], "exit.threshold"),
    (["--max-loops", "3"], "exit.max_loops"),
    (["--draft", "2", "--draft-loops", "2"], "speculation.draft_loops"),
    (["--kv", "int4"], "int4"),
    (["--simd", "mmx"], "mmx"),
])
def test_refusals_name_the_flag(rondo, looped, flags, named):
    result = rondo.run("generate", looped, "--prompt", PROMPT, *flags, check=False)
    assert result.returncode != 0 and named in result.stderr
