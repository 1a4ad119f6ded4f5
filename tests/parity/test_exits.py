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
    assert picture.read_text().startswith("<svg")


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
    (["--exit-threshold", "1.5"], "exit.threshold"),
    (["--max-loops", "3"], "exit.max_loops"),
    (["--draft", "2", "--draft-loops", "2"], "speculation.draft_loops"),
    (["--kv", "int4"], "int4"),
    (["--simd", "mmx"], "mmx"),
])
def test_refusals_name_the_flag(rondo, looped, flags, named):
    result = rondo.run("generate", looped, "--prompt", PROMPT, *flags, check=False)
    assert result.returncode != 0 and named in result.stderr
