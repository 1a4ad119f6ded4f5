"""Whisper in rondo against transformers: random models logit by logit, the real one text by text."""

import json
import subprocess
import tarfile

import numpy
import pytest
import soundfile
import torch
import transformers
from conftest import BUILD, DATA, ROOT
from test_audio import MEMBERS
from transformers.models.whisper import generation_whisper
from whisper_models import real_model, tiny_model

EPSILON = numpy.finfo(numpy.float32).eps
SPEECH = DATA / "speech" / "kathleen.tar"


class SpeechTool:
    def __init__(self, directory):
        self.binary = BUILD / "bin" / "speech_tool"
        assert self.binary.exists(), f"{self.binary} is missing: run `make build`"
        self.directory = directory

    def ask(self, model, **request):
        result = subprocess.run([self.binary, model, json.dumps(request)], capture_output=True, timeout=120,
                                check=True)
        return json.loads(result.stdout)

    def values(self, model, features, **request):
        path, out = self.directory / "features.f32", self.directory / "values.f32"
        numpy.ascontiguousarray(features, numpy.float32).tofile(path)
        answer = self.ask(model, features=str(path), out=str(out), **request)
        assert "error" not in answer, answer
        return numpy.fromfile(out, numpy.float32)


@pytest.fixture
def tool(tmp_path):
    return SpeechTool(tmp_path)


@pytest.fixture
def tiny(tmp_path):
    model = tiny_model()
    directory = tmp_path / "tiny"
    model.save_pretrained(directory)
    torch.manual_seed(1)
    features = torch.randn(1, 24, 240)
    return model, directory, features


def close(ours, expected, layers):
    # Each layer adds a few products of up to d_ff terms; their errors and those of the norms add up like
    # independent roundings of values of this size.
    tolerance = 8 * EPSILON * numpy.sqrt(layers * 112) * numpy.abs(expected).max()
    assert ours.size == expected.size
    assert numpy.abs(ours - expected.ravel()).max() <= tolerance


def test_encoder_rows_are_those_of_transformers(tool, tiny):
    model, directory, features = tiny
    with torch.no_grad():
        expected = model.model.encoder(features).last_hidden_state.numpy()
    close(tool.values(directory, features[0].T, op="encode"), expected, 3)


def test_logits_are_those_of_transformers(tool, tiny, tmp_path):
    model, directory, features = tiny
    tokens = [3, 17, 5, 198, 44, 90, 2, 71, 8]
    with torch.no_grad():
        expected = model(features, decoder_input_ids=torch.tensor([tokens])).logits.numpy()
    close(tool.values(directory, features[0].T, op="logits", tokens=tokens), expected, 5)
    # … and after a round through rondo's own directory.
    assert tool.ask(directory, op="save", directory=str(tmp_path / "native")) == {"count": 0}
    close(tool.values(tmp_path / "native", features[0].T, op="logits", tokens=tokens), expected, 5)


def test_cross_attention_is_that_of_transformers(tool, tmp_path):
    model = tiny_model(attn_implementation="eager")
    directory = tmp_path / "eager"
    model.save_pretrained(directory)
    features = torch.randn(1, 24, 240, generator=torch.Generator().manual_seed(1))
    tokens, heads = [3, 17, 5, 198], [[0, 1], [1, 0]]
    with torch.no_grad():
        out = model(features, decoder_input_ids=torch.tensor([tokens]), output_attentions=True)
    expected = numpy.stack([out.cross_attentions[d][0, h].numpy() for d, h in heads])
    close(tool.values(directory, features[0].T, op="attention", tokens=tokens, heads=heads), expected, 5)


def test_files_that_are_no_whisper_are_refused(tool, tiny, tmp_path):
    _, directory, features = tiny
    config = json.loads((directory / "config.json").read_text())
    for key, value in {"encoder_attention_heads": 7, "activation_function": "tanhish", "scale_embedding": True,
                       "d_model": 32, "encoder_layers": 4, "decoder_layers": 1}.items():
        (directory / "config.json").write_text(json.dumps({**config, key: value}))
        error = tool.ask(directory, op="encode", features="none", out="none")["error"]
        assert str(directory) in error, error


LEARN = """
model = "{student}"
teacher = "{teacher}"
[speech]
train = "{manifest}"
audio = "{audio}"
ctc = 0
dropout = 0
frequency_masks = 0
time_masks = 0
batch_frames = 200
[run]
out = "{out}"
threads = 1
[train]
steps = {windows}
lr = 1e-15
hidden = 1.0
hidden_depths = [0, 1]
"""


def test_hidden_states_are_learnt_from_as_transformers_has_them(rondo, tmp_path):
    """The loss of every window, before anything is learnt: relative squared distances of two encoders' states."""
    models = {name: tiny_model(seed, max_source_positions=100) for name, seed in [("teacher", 0), ("student", 1)]}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    signal = numpy.concatenate([utterance(name) for name in MEMBERS])
    windows = [signal[begin:begin + 32000] for begin in range(0, len(signal) - 31999, 32000)]
    assert len(windows) >= 3
    extractor = transformers.WhisperFeatureExtractor(feature_size=24, chunk_length=2)
    expected = []
    for window in windows:
        features = extractor(window, sampling_rate=16000, return_tensors="pt").input_features
        states = {}
        for name, model in models.items():
            with torch.no_grad():
                out = model.model.encoder(features, output_hidden_states=True)
            states[name] = [out.hidden_states[1], out.hidden_states[2], out.last_hidden_state]
        pairs = zip(states["student"], states["teacher"])
        expected.append(numpy.mean([((s - t).square().sum() / t.square().sum()).item() for s, t in pairs]))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(LEARN.format(student=tmp_path / "student", teacher=tmp_path / "teacher", out=tmp_path / "run",
                                   windows=len(windows),
                                   manifest=DATA / "speech" / "kathleen.tsv", audio=SPEECH))
    rondo.run("train", recipe, "--quiet")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [line["hidden"] for line in lines if "hidden" in line]
    # Squares of the differences that close() allows: a few parts in 10,000 of values of this size.
    assert sorted(measured) == pytest.approx(sorted(expected), rel=1e-3)
    assert (tmp_path / "run" / "model" / "config.json").exists()


# What follows runs the real whisper-base.

@pytest.fixture(scope="session")
def whisper_base():
    path = ROOT / "models" / "whisper-base"
    assert (path / "model.bin").exists(), f"{path} is missing: run `scripts/get_model.sh whisper-base`"
    return path


@pytest.fixture(scope="session")
def oracle(whisper_base):
    return real_model(whisper_base)


def utterance(name):
    with tarfile.open(SPEECH) as archive:
        samples, rate = soundfile.read(archive.extractfile(f"kathleen-en/{name}.opus"), dtype="float32")
    assert rate == 16000
    return samples


def features_of(samples):
    extractor = transformers.WhisperFeatureExtractor()
    return extractor(samples, sampling_rate=16000, return_tensors="pt").input_features


def write_wav(path, samples):
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return path


def long_audio():
    """Four utterances with pauses, twice: 20 s of speech in 35 s."""
    pause = numpy.zeros(24000, numpy.float32)
    parts = [part for name in MEMBERS for part in (utterance(name), pause)]
    once = numpy.concatenate(parts)
    return numpy.concatenate([once, pause, once, pause])


@pytest.mark.slow
def test_texts_and_timestamps_are_those_of_transformers(rondo, whisper_base, oracle, tmp_path):
    model, tokenizer = oracle
    for name in MEMBERS[1:3]:
        samples = utterance(name)
        path = write_wav(tmp_path / f"{name}.wav", samples)
        for timestamps in (True, False):
            ids = model.generate(features_of(samples), language="en", task="transcribe",
                                 return_timestamps=timestamps)[0].tolist()
            flags = [] if timestamps else ["--no-timestamps"]
            ours = rondo.json("transcribe", whisper_base, path, "--language", "en", "--no-words", *flags)
            text = tokenizer.decode([i for i in ids if i < 50257]).strip()
            assert ours["files"][0]["text"] == text
            times = [round((i - 50364) * 0.02, 2) for i in ids if i >= 50364]
            if timestamps:
                given = [round(s[k], 2) for s in ours["files"][0]["segments"] for k in ("begin", "end")]
                assert given == [min(t, round(len(samples) / 16000, 2)) for t in times]


@pytest.mark.slow
def test_the_language_is_detected(rondo, whisper_base, tmp_path):
    path = write_wav(tmp_path / "a.wav", utterance(MEMBERS[3]))
    told = rondo.json("transcribe", whisper_base, path, "--no-words", "--language", "en")
    heard = rondo.json("transcribe", whisper_base, path, "--no-words")
    assert told["files"][0]["text"] == heard["files"][0]["text"]
    # What one file sounds like says nothing of the next.
    german = "Heute ist schönes Wetter, und ich gehe mit den Kindern in den Park."
    subprocess.run(["espeak-ng", "-v", "de", "-s", "140", "-w", tmp_path / "de.wav", german], check=True)
    after = rondo.json("transcribe", whisper_base, tmp_path / "de.wav", path, "--no-words")
    assert "mit den Kindern" in after["files"][0]["text"]
    assert after["files"][1]["text"] == told["files"][0]["text"]
    answer = rondo.run("transcribe", whisper_base, path, "--language", "xx", check=False)
    assert answer.returncode != 0 and "language 'xx'" in answer.stderr


@pytest.mark.slow
def test_long_files_are_read_window_by_window(rondo, whisper_base, oracle, tmp_path):
    model, tokenizer = oracle
    samples = long_audio()
    # transformers takes the maximum that limits features over the whole file, rondo over the window: here the
    # loudest utterance is in both windows.
    extractor = transformers.WhisperFeatureExtractor()
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt", truncation=False,
                       padding="longest", return_attention_mask=True)
    result = model.generate(**inputs, language="en", task="transcribe", return_timestamps=True,
                            return_segments=True)
    expected = " ".join(tokenizer.decode([i for i in s["tokens"].tolist() if i < 50257]).strip()
                        for s in result["segments"][0])
    ours = rondo.json("transcribe", whisper_base, write_wav(tmp_path / "long.wav", samples), "--language", "en",
                      "--no-words")
    assert ours["files"][0]["text"] == expected
    assert abs(ours["audio_seconds"] - len(samples) / 16000) < 1e-3


@pytest.mark.slow
def test_word_times_are_those_of_the_attention(rondo, whisper_base, oracle, tmp_path):
    model, tokenizer = oracle
    model.set_attn_implementation("eager")
    samples = utterance(MEMBERS[3])
    ours = rondo.json("transcribe", whisper_base, write_wav(tmp_path / "a.wav", samples), "--language", "en")
    words = ours["files"][0]["segments"][0]["words"]
    text = [i for i in tokenizer(" " + " ".join(w["text"] for w in words)).input_ids if i < 50257]
    prompt = tokenizer.convert_tokens_to_ids(
        ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"])
    with torch.no_grad():
        out = model(features_of(samples), decoder_input_ids=torch.tensor([prompt + text + [50257]]),
                    output_attentions=True)
    model.set_attn_implementation("sdpa")
    positions = -(-len(samples) // 320)
    heads = model.generation_config.alignment_heads
    weights = torch.stack([out.cross_attentions[layer][0, head] for layer, head in heads])[..., :positions]
    weights = weights / weights.sum(-1, keepdim=True)
    weights = (weights - weights.mean(-2, keepdim=True)) / weights.std(-2, keepdim=True, unbiased=False)
    weights = generation_whisper._median_filter(weights[None], 7)[0].mean(0)[len(prompt) - 1:-1]
    rows, columns = generation_whisper._dynamic_time_warping(-weights.double().numpy())
    times = columns[numpy.pad(numpy.diff(rows), (1, 0), constant_values=1).astype(bool)] * 0.02
    starts = [i for i, token in enumerate(text) if tokenizer.decode([token]).startswith(" ")]
    assert len(starts) == len(words)
    assert [round(w["begin"], 2) for w in words] == [round(times[i], 2) for i in starts]
    assert [round(w["end"], 2) for w in words] == [round(times[i], 2) for i in [*starts[1:], len(text)]]


@pytest.mark.slow
def test_a_pipe_gives_what_the_file_gives(rondo, whisper_base, tmp_path):
    samples = utterance(MEMBERS[1])
    pcm = numpy.clip(numpy.round(samples * 32768), -32768, 32767).astype("<i2")
    soundfile.write(tmp_path / "a.wav", pcm, 16000)
    whole = rondo.json("transcribe", whisper_base, tmp_path / "a.wav", "--language", "en")["files"][0]
    command = [rondo.binary, "transcribe", whisper_base, "-", "--stream", "--partial", "1", "--json",
               "--language", "en"]
    result = subprocess.run(command, input=pcm.tobytes(), capture_output=True, timeout=300, check=True)
    lines = [json.loads(line) for line in result.stdout.decode().splitlines()]
    assert any("partial" in line for line in lines)
    segments = [line["segment"] for line in lines if "segment" in line]
    assert segments == whole["segments"] == lines[-1]["files"][0]["segments"]


@pytest.mark.slow
def test_folded_whisper_still_transcribes(rondo, whisper_base, tmp_path):
    """At full rank the fold is the model; at rank 16 it loads, runs and says how small it is."""
    path = write_wav(tmp_path / "a.wav", utterance(MEMBERS[3]))
    plain = rondo.json("transcribe", whisper_base, path, "--language", "en", "--no-words")["files"][0]["text"]
    for rank, equal in [(512, True), (16, False)]:
        out = tmp_path / f"rank{rank}"
        told = rondo.json("fold", whisper_base, "--out", out, "--order", "sequence", "--loops", "2",
                          "--residual", "lora-diag", "--rank", rank)
        assert told["loops"] == 2 and told["depths"] == 6
        text = rondo.json("transcribe", out, path, "--language", "en", "--no-words")["files"][0]["text"]
        assert (text == plain) == equal
    assert told["parameters_encoder"] < 0.56 * told["parameters_encoder_before"]


@pytest.mark.slow
def test_a_calibrated_fold_transcribes_what_one_of_the_weights_does_not(rondo, whisper_base, tmp_path):
    manifest, enough = DATA / "speech" / "kathleen.tsv", tmp_path / "kathleen.jsonl"
    (tmp_path / "kathleen.tar").symlink_to(SPEECH)
    names = [line.split("\t")[0] for line in manifest.read_text().splitlines()]
    # A window has 30 s.
    entries = [{"id": f"{name}-{i}", "audio": name, "text": ""} for i in range(12) for name in names]
    enough.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    errors = {}
    for name, options in [("weights", []), ("calibrated", ["--calibrate", enough, "--calibrate-tokens", "1500"])]:
        rondo.json("fold", whisper_base, "--out", tmp_path / name, "--order", "sequence", "--loops", "2",
                   "--residual", "lora-diag", "--rank", "128", *options)
        told = rondo.json("eval", tmp_path / name, "--speech", manifest, "--plain", "--type", "q8_0")
        errors[name] = told["word_error_rate"]
    assert errors["calibrated"] < 0.3 and errors["weights"] > 0.9, errors
