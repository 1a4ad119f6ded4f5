"""SmolLM2-135M-Instruct, the real model: perplexity, exact folds, exports. Oracle: transformers, llama.cpp."""

import math

import pytest
import torch

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def reference(smollm2):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    place, file = smollm2.parent, smollm2.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
    return tokenizer, model.eval()


def hf_perplexity(reference, text, windows, context=1024):
    tokenizer, model = reference
    ids = tokenizer(text.read_text(), return_tensors="pt").input_ids[0]
    total = 0
    with torch.no_grad():
        for i in range(windows):
            x = ids[None, i * context:(i + 1) * context]
            total += model(x, labels=x).loss.item()
    return math.exp(total / windows)


def test_perplexity_is_that_of_transformers(rondo, smollm2, wikitext, reference):
    ours = rondo.json("eval", smollm2, "--text", wikitext, "--max-tokens", 2048)["perplexity"]
    assert ours == pytest.approx(hf_perplexity(reference, wikitext, 2), rel=2e-5)


def test_greedy_text_is_that_of_transformers(rondo, smollm2, reference):
    tokenizer, model = reference
    ids = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=40, do_sample=False)
    expected = tokenizer.decode(out[0][ids.input_ids.shape[1]:], skip_special_tokens=True)
    ours = rondo.json("generate", smollm2, "--prompt", PROMPT, "--max-tokens", 40, "--type", "f32")["text"]
    assert ours == expected


def test_a_chat_of_two_turns_is_that_of_transformers(rondo, smollm2, reference):
    tokenizer, model = reference
    questions, messages, answers = ["My name is Ada.", "Name three rivers."], [], []
    for question in questions:
        messages.append({"role": "user", "content": question})
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",
                                            return_dict=True)
        out = model.generate(**ids, max_new_tokens=12, do_sample=False)
        answers.append(tokenizer.decode(out[0][ids.input_ids.shape[1]:], skip_special_tokens=True))
        messages.append({"role": "assistant", "content": answers[-1]})
    talk = rondo.run("chat", smollm2, "--max-tokens", 12, "--type", "f32", "--temperature", 0,
                     input="\n".join(questions) + "\n").stdout
    assert talk == "".join(answer + "\n" for answer in answers)


@pytest.mark.slow
def test_perplexity_on_8192_tokens_is_18_85(rondo, smollm2, wikitext, reference):
    ours = rondo.json("eval", smollm2, "--text", wikitext, "--max-tokens", 8192)["perplexity"]
    assert ours == pytest.approx(18.85, abs=0.01)
    assert ours == pytest.approx(hf_perplexity(reference, wikitext, 8), abs=0.001)


@pytest.mark.slow
def test_bf16_weights_cost_little(rondo, smollm2, wikitext):
    ours = rondo.json("eval", smollm2, "--text", wikitext, "--max-tokens", 8192, "--type", "bf16")
    assert ours["perplexity"] == pytest.approx(18.87, abs=0.04)  # transformers in bf16: 18.87


@pytest.mark.slow
def test_strided_perplexity_follows_the_guide_of_transformers(rondo, smollm2, wikitext, reference):
    tokenizer, model = reference
    ids = tokenizer(wikitext.read_text(), return_tensors="pt").input_ids[:, :1500]
    context, stride, previous, total, count = 512, 256, 0, 0.0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + context, ids.size(1))
        labels = ids[:, begin:end].clone()
        labels[:, :-(end - previous)] = -100
        with torch.no_grad():
            loss = model(ids[:, begin:end], labels=labels).loss
        predicted = (labels[:, 1:] != -100).sum().item()
        total, count, previous = total + loss.item() * predicted, count + predicted, end
        if end == ids.size(1):
            break
    ours = rondo.json("eval", smollm2, "--text", wikitext, "--max-tokens", 1500, "--context", context,
                      "--stride", stride)
    assert ours["tokens"] == count
    assert ours["perplexity"] == pytest.approx(math.exp(total / count), rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["cycle", "sequence", "middle-cycle", "middle-sequence"])
@pytest.mark.parametrize("norms", ["own", "absorbed"])
def test_full_rank_fold_has_the_perplexity_of_the_original(rondo, smollm2, wikitext, tmp_path, order, norms):
    rondo.json("fold", smollm2, "--out", tmp_path / "fold", "--order", order, "--norms", norms,
               "--rank", 576)
    d = rondo.json("compare", smollm2, tmp_path / "fold", "--text", wikitext, "--max-tokens", 512,
                   "--context", 512)
    # As in test_main_job: eps·10·sqrt(width·4·depth) of the logits' size.
    assert d["max_abs_logit_diff"] < 10 * 2**-23 * math.sqrt(1536 * 4 * 30) * d["max_abs_logit"]
    assert d["kl"] < 1e-6


@pytest.mark.slow
def test_folding_takes_seconds_and_little_memory(rondo, smollm2, tmp_path):
    fold = rondo.json("fold", smollm2, "--out", tmp_path / "fold", "--rank", 64)
    assert fold["peak_memory_bytes"] <= 1.3 * 134_515_008 * 4  # the model's parameters in f32
    assert fold["parameters_non_embedding"] < 72.8e6


@pytest.fixture(scope="module")
def fold(rondo, smollm2, tmp_path_factory):
    """A fold that still writes words: middle-sequence, rank 256."""
    out = tmp_path_factory.mktemp("smollm2") / "fold"
    rondo.json("fold", smollm2, "--out", out, "--order", "middle-sequence", "--rank", 256)
    return out


@pytest.mark.slow
def test_exported_fold_runs_in_transformers_with_the_same_logits_and_text(rondo, fold, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    rondo.json("export", fold, "--format", "hf", "--out", tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    ids = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=24, do_sample=False)
    expected = tokenizer.decode(out[0][ids.input_ids.shape[1]:], skip_special_tokens=True)
    assert rondo.json("generate", fold, "--prompt", PROMPT, "--max-tokens", 24)["text"] == expected


@pytest.mark.slow
def test_exported_fold_runs_in_llama_cpp_with_the_same_text(rondo, fold, tmp_path):
    import xllamacpp
    rondo.json("export", fold, "--format", "gguf", "--out", tmp_path / "fold.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "fold.gguf")
    parameters.n_ctx = 512
    server = xllamacpp.Server(parameters)
    answer = server.handle_completions({"prompt": PROMPT, "max_tokens": 24, "temperature": 0})
    ours = rondo.json("generate", fold, "--prompt", PROMPT, "--max-tokens", 24)["text"]
    assert answer["choices"][0]["text"] == ours
