"""The commands on speech models: published sizes, training from a recipe, error rates as jiwer counts them."""

import math
import re
import resource

import gguf
import jiwer
import numpy
import pytest
import sacrebleu
import sentencepiece
import soundfile
from conftest import BUILD, DATA, Rondo
from safetensors.numpy import load_file

SPEECH = DATA / "speech"
RECIPE = """
[speech]
train = "{manifest}"
audio = "{audio}"
task = "both"
units = "sentencepiece"
unit_count = 45
mel_bins = 24
layers = 3
d_model = 32
d_ff = 64
heads = 2
share = 3
rank = 2
ctc = 0.5
attention = 0.5
decoder_layers = 1
batch_frames = 600

[run]
out = "{out}"
threads = 1

[train]
steps = 30
lr = 4e-3
"""


def test_published_sizes(rondo):
    """Wang and Li 2024: 56.7M parameters without sharing, 19.3M or 34.0 % with K = 3, R = 2."""
    sizes = rondo.json("inspect", SPEECH / "residual-transformer")
    assert round(sizes["encoder_parameters_unshared"] / 1e6, 1) == 56.7
    assert round(sizes["encoder_parameters"] / 1e6, 1) == 19.3
    assert round(100 * sizes["encoder_share"], 1) == 34.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained for a moment on four sentences with "translations", and the manifest."""
    directory = tmp_path_factory.mktemp("speech")
    manifest = directory / "set.tsv"
    lines = (SPEECH / "kathleen.tsv").read_text().splitlines()
    manifest.write_text("".join(f"{line}\t{line.split(chr(9))[1][::-1]}\n" for line in lines))
    recipe = directory / "recipe.toml"
    recipe.write_text(RECIPE.format(manifest=manifest, audio=SPEECH / "kathleen.tar", out=directory / "run"))
    Rondo(BUILD / "bin" / "rondo").run("train", recipe, "--quiet")
    return directory / "run" / "model", manifest


@pytest.mark.parametrize("flags", [["--search", "ctc"], ["--search", "ctc", "--beam", "4"],
                                   ["--search", "joint", "--beam", "4"],
                                   ["--search", "attention", "--beam", "2"], ["--search", "ctc", "--chunk", "4"]])
def test_error_rates_are_those_of_jiwer(rondo, trained, tmp_path, flags):
    model, manifest = trained
    out = tmp_path / "hypotheses.tsv"
    result = rondo.json("eval", model, "--speech", manifest, "--audio", SPEECH / "kathleen.tar",
                        "--hypotheses", out, *flags)
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    references, hypotheses = [row[1] for row in rows], [row[2] for row in rows]
    assert result["utterances"] == len(rows) == 4
    assert references[0] == "how much was it"
    assert result["word_error_rate"] == pytest.approx(jiwer.wer(references, hypotheses))
    assert result["character_error_rate"] == pytest.approx(jiwer.cer(references, hypotheses))


def test_translations_are_scored_as_by_sacrebleu(rondo, trained, tmp_path):
    model, manifest = trained
    out = tmp_path / "hypotheses.tsv"
    result = rondo.json("eval", model, "--speech", manifest, "--audio", SPEECH / "kathleen.tar", "--translate",
                        "--search", "attention", "--hypotheses", out)
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    references, hypotheses = [row[1] for row in rows], [row[2] for row in rows]
    assert references[0] == "ti saw hcum woh"
    assert math.isclose(result["bleu"], sacrebleu.corpus_bleu(hypotheses, [references]).score, abs_tol=1e-9)
    assert math.isclose(result["chrf"], sacrebleu.corpus_chrf(hypotheses, [references]).score, abs_tol=1e-9)


def test_units_are_a_sentencepiece_model(trained):
    """The tokenizer beside the model is read by SentencePiece itself and gives its texts back."""
    model, _ = trained
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model / "tokenizer.model"))
    assert 20 < pieces.GetPieceSize() <= 45
    assert pieces.decode(pieces.encode("there was a change now")) == "there was a change now"


def test_errors_say_what_is_wrong(rondo, trained):
    model, manifest = trained
    evaluate = ["eval", model, "--speech", manifest, "--audio", SPEECH / "kathleen.tar"]
    refused = rondo.run(*evaluate, "--search", "transducer", check=False)
    assert refused.returncode != 0 and "no transducer" in refused.stderr
    refused = rondo.run(*evaluate, "--ids", "zz*", check=False)
    assert refused.returncode != 0 and "--ids" in refused.stderr
    refused = rondo.run("eval", model, "--text", SPEECH / "kathleen.tsv", check=False)
    assert refused.returncode != 0 and "a speech model" in refused.stderr


def test_a_file_with_an_error_is_read_once(rondo, trained, tmp_path):
    """Only lack of memory has the first minute read again, to say how much would suffice."""
    model, _ = trained
    samples = numpy.random.default_rng(0).normal(0, 0.1, 60 * 16000).astype("float32")

    def seconds(name):
        soundfile.write(tmp_path / name, samples, 16000, subtype="FLOAT")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        answer = rondo.run("transcribe", model, tmp_path / name, "--threads", "1", check=False)
        return answer, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    good, once = seconds("good.wav")
    samples[-1] = numpy.nan
    damaged, again = seconds("damaged.wav")
    assert good.returncode == 0 and damaged.returncode == 1 and "no finite number" in damaged.stderr
    assert again < 1.6 * once


def test_memory_that_does_not_suffice_is_named(rondo, trained, tmp_path):
    """Wherever it runs out: never another error, never a crash; enough of it is enough."""
    model, _ = trained
    soundfile.write(tmp_path / "a.wav", numpy.random.default_rng(0).normal(0, 0.1, 464000), 16000)
    command = ["transcribe", model, tmp_path / "a.wav", "--memory"]
    enough = [rondo.run(*command, str(mib), check=False) for mib in (1, 2, 3, 64)]
    assert enough[0].returncode == 1 and enough[-1].returncode == 0
    for answer in enough:
        assert answer.returncode == 0 or (answer.returncode == 1 and "--memory" in answer.stderr), answer.stderr
    suffices = re.search(r"expected (\d+) or more", enough[0].stderr)
    assert suffices, enough[0].stderr
    report = rondo.json(*command, suffices[1])
    assert 1 << 20 < report["arena_peak_bytes"] <= report["arena_bytes"] == int(suffices[1]) << 20


def test_quantised_models_are_directories_too(rondo, trained, tmp_path):
    """Every tensor on disk is what gguf's own rounding makes of it, and the directory is a model as any other."""
    model, manifest = trained
    stored = rondo.json("quantize", model, "--type", "q8_0", "--residual-type", "q8_0", "--out", tmp_path / "q8")
    assert stored["bytes_weights"] < 0.45 * stored["bytes_weights_before"]
    exact, kinds = load_file(model / "model.safetensors"), set()
    for tensor in gguf.GGUFReader(tmp_path / "q8" / "model.gguf").tensors:
        rounded = gguf.quants.quantize(exact.pop(tensor.name), tensor.tensor_type)
        assert rounded.tobytes() == tensor.data.tobytes(), tensor.name
        kinds.add(tensor.tensor_type.name)
    assert not exact and kinds == {"Q8_0", "F16", "F32"}
    file = tmp_path / "texts.tsv"
    rondo.json("eval", tmp_path / "q8", "--speech", manifest, "--audio", SPEECH / "kathleen.tar", "--type", "auto",
               "--search", "attention", "--hypotheses", file)
    assert any(line.split("\t")[2] for line in file.read_text().splitlines())
    failed = rondo.run("quantize", model, "--type", "q4_0", "--calibrate", manifest, "--out", tmp_path / "q4",
                       check=False)
    assert failed.returncode == 2 and "--calibrate" in failed.stderr
