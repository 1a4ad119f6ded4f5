"""`rondo transcribe` as people use it: pipes, signals, bad files among good ones, subtitles, hours of sound."""

import json
import pathlib
import signal
import subprocess
import time

import numpy
import pytest
import soundfile
from conftest import BUILD, DATA, Rondo
from safetensors.numpy import load_file, save_file

SPEECH = DATA / "speech"
RATE = 8000
RECIPE = """
[speech]
train = "{speech}/kathleen.tsv"
audio = "{speech}/kathleen.tar"
sample_rate = 8000
mel_bins = 12
layers = 2
d_model = 16
d_ff = 24
heads = 2
chunk = 4
left_chunks = 4
batch_frames = 600

[run]
out = "{out}"
threads = 1

[train]
steps = 2
lr = 1e-3
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A streaming model that hears letters in everything: it was not trained, its blank is held down."""
    directory = tmp_path_factory.mktemp("model")
    recipe = directory / "recipe.toml"
    recipe.write_text(RECIPE.format(speech=SPEECH, out=directory / "run"))
    Rondo(BUILD / "bin" / "rondo").run("train", recipe, "--quiet")
    file = directory / "run" / "model" / "model.safetensors"
    tensors = load_file(file)
    rng = numpy.random.default_rng(0)
    weight = tensors["ctc.weight"]
    tensors["ctc.weight"] = rng.standard_normal(weight.shape).astype(weight.dtype)
    tensors["ctc.bias"] = numpy.full_like(tensors["ctc.bias"], 5)
    tensors["ctc.bias"][:5] = -5
    save_file(tensors, file, metadata={"format": "pt"})
    return directory / "run" / "model"


def noise(seconds, seed=0):
    values = numpy.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE))
    return numpy.clip(numpy.round(values * 32768), -32768, 32767).astype("<i2")


def last_object(text):
    return json.loads(text.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "good.wav"
    soundfile.write(path, noise(3), RATE)
    return path


def test_one_bad_file_does_not_end_the_others(rondo, model, good, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("this is text")
    names = [good, bad, tmp_path, tmp_path / "missing.wav", good]
    result = rondo.run("transcribe", model, *names, "--json", check=False)
    assert result.returncode == 1
    files = json.loads(result.stdout)["files"]
    assert [f["audio"] for f in files] == [str(name) for name in names]
    assert files[0]["text"] and files[4]["text"] == files[0]["text"] and files[4]["seconds"] == 3
    assert "error" not in files[0] and "error" not in files[4]
    for file, why in zip(files[1:4], ["not readable as sound", "a directory", "No such file"]):
        assert why in file["error"] and why in result.stderr
    plain = rondo.run("transcribe", model, *names, check=False)
    assert plain.returncode == 1
    _, *told = plain.stdout.split(f"{good}:\n")
    for part in told:
        assert all(segment["text"] in part for segment in files[0]["segments"])
    assert len(told) == 2


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
def test_sound_files_are_known_in_a_pipe(rondo, model, tmp_path, kind):
    path = tmp_path / "a"
    samples = numpy.repeat(noise(2), 2)
    soundfile.write(path, samples, 2 * RATE, format=kind)
    whole = rondo.json("transcribe", model, path)["files"][0]
    command = [rondo.binary, "transcribe", model, "-", "--json"]
    piped = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=60, check=True)
    heard = last_object(piped.stdout.decode())["files"][0]
    assert heard["text"] == whole["text"] and heard["segments"] == whole["segments"]
    assert heard["seconds"] == whole["seconds"] == pytest.approx(2, abs=0.2)
    bare = [*command, "--pcm-rate", str(2 * RATE)]
    piped = subprocess.run(bare, input=samples.tobytes(), capture_output=True, timeout=60, check=True)
    assert last_object(piped.stdout.decode())["files"][0]["seconds"] == pytest.approx(2)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_ends_with_its_text_and_report_when_it_is_told(rondo, model, tmp_path, name):
    command = [rondo.binary, "transcribe", model, "-", "--stream", "--partial", "0.5", "--pcm-rate", str(RATE),
               "--json"]
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
    process.stdin.write(noise(3).tobytes())
    process.stdin.flush()  # and stays open, as a microphone does
    deadline = time.time() + 60
    while (tmp_path / "out").read_text().count("partial") < 5 and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(name)
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert "segment" in lines[-2] and lines[-2]["segment"]["text"]
    report = lines[-1]["files"][0]
    assert report["segments"][-1] == lines[-2]["segment"] and report["seconds"] == 3


def resident_kb(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_hours_of_sound_need_no_more_memory_than_minutes(rondo, model, tmp_path):
    command = [rondo.binary, "transcribe", model, "-", "--stream", "--pcm-rate", str(RATE), "--json", "--threads", "1"]
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
    minute = numpy.concatenate([noise(40), numpy.zeros(20 * RATE, "<i2")]).tobytes()
    sizes = []
    for count in (5, 60, 55):
        for _ in range(count):
            process.stdin.write(minute)
        sizes.append(resident_kb(process))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert sizes[2] - sizes[0] < 1024, sizes
    report = last_object((tmp_path / "out").read_text())
    assert report["audio_seconds"] > 119 * 60 and report["files"][0]["text"]


def test_subtitles(rondo, model, good):
    segments = rondo.json("transcribe", model, good)["files"][0]["segments"]
    srt = rondo.run("transcribe", model, good, "--format", "srt", "--quiet")
    vtt = rondo.run("transcribe", model, good, "--format", "vtt", "--quiet")
    assert srt.stdout.startswith("1\n00:00:0") and srt.stdout.count(" --> ") == len(segments)
    assert vtt.stdout.startswith("WEBVTT\n\n00:00:0") and segments[0]["text"] in vtt.stdout
    refused = rondo.run("transcribe", model, good, good, "--format", "srt", check=False)
    assert refused.returncode != 0 and "--format" in refused.stderr


def test_silence_has_no_words(rondo, model, tmp_path):
    soundfile.write(tmp_path / "silent.wav", numpy.zeros(3 * RATE, "<i2"), RATE)
    assert rondo.json("transcribe", model, tmp_path / "silent.wav")["files"][0]["text"] == ""
    assert rondo.json("transcribe", model, tmp_path / "silent.wav", "--silence", "-200")["files"][0]["text"]


def test_errors_name_what_to_change(rondo, model, good):
    for flags, words in ((["--translate"], "no decoder"), (["--language", "de"], "language")):
        refused = rondo.run("transcribe", model, good, *flags, check=False)
        assert refused.returncode != 0 and words in refused.stderr
    refused = rondo.run("transcribe", "models/whisper-large", good, check=False)
    assert refused.returncode != 0 and "scripts/get_model.sh whisper-base" in refused.stderr


def test_manifests_of_others(rondo, model, good, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "C1.WAV").write_bytes(good.read_bytes())
    head = "client_id\tpath\tsentence\tup_votes\tlocale\n"
    (tmp_path / "validated.tsv").write_text(head + "0a1b\tC1.WAV\tThe kettle sang.\t2\ten\n")
    nemo = {"audio_filepath": "clips/C1.WAV", "duration": 3.0, "text": "the kettle sang"}
    (tmp_path / "manifest.json").write_text(json.dumps(nemo) + "\n")
    (tmp_path / "timit.tsv").write_text("c1\tthe kettle sang\n")
    for name in ("validated.tsv", "manifest.json", "timit.tsv"):
        result = rondo.json("eval", model, "--speech", tmp_path / name)
        assert result["utterances"] == 1 and result["words"] == 3
