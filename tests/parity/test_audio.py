"""The speech front end against kaldi-native-fbank, transformers' Whisper features, and soundfile."""

import json
import subprocess

import kaldi_native_fbank
import numpy
import pytest
import soundfile
import transformers
from conftest import BUILD, DATA

SPEECH = DATA / "speech"
MEMBERS = ["arctic_a0207_1592712443", "arctic_a0098_1592746254", "arctic_a0018_1592748134",
           "arctic_a0020_1592748103"]
EPSILON = numpy.finfo(numpy.float32).eps


class AudioTool:
    def __init__(self, directory):
        self.binary = BUILD / "bin" / "audio_tool"
        assert self.binary.exists(), f"{self.binary} is missing: run `make build`"
        self.out = directory / "values.f32"

    def ask(self, **request):
        request["out"] = str(self.out)
        result = subprocess.run([self.binary, json.dumps(request)], capture_output=True, timeout=60, check=True)
        answer = json.loads(result.stdout)
        assert "error" not in answer, answer
        return answer

    def values(self, **request):
        count = self.ask(**request)["count"]
        values = numpy.fromfile(self.out, dtype=numpy.float32)
        assert values.size == count
        return values


@pytest.fixture
def tool(tmp_path):
    return AudioTool(tmp_path)


def member(name):
    return f"{SPEECH / 'kathleen.tar'}:kathleen-en/{name}.opus"


def kaldi_features(samples, rate, **settings):
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = settings.get("snip_edges", True)
    options.frame_opts.remove_dc_offset = settings.get("remove_dc_offset", True)
    options.frame_opts.preemph_coeff = settings.get("preemphasis", 0.97)
    # Its "hann" is the periodic one; "hanning" is Kaldi's.
    options.frame_opts.window_type = {"hann": "hanning"}.get(settings.get("window", "povey"),
                                                             settings.get("window", "povey"))
    options.mel_opts.num_bins = settings.get("bins", 80)
    options.mel_opts.low_freq = settings.get("low_freq", 20)
    options.mel_opts.high_freq = settings.get("high_freq", 0)
    options.use_energy = settings.get("use_energy", False)
    options.raw_energy = settings.get("raw_energy", True)
    options.energy_floor = settings.get("energy_floor", 0)
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(rate, (samples * 32768).tolist())
    fbank.input_finished()
    return numpy.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def kaldi_bound(features, samples, rate, scale=32768):
    """How far a log energy in f32 may be from the exact one.

    Each FFT value carries an error of about eps * log2(n) * sqrt(n) times the norm of the frame before it
    was cleaned of its mean and filtered (whose roundings pass on). Filters are sums of at most n weighted
    squares: with e = sqrt(energy), d = the error's norm under the filter (weights at most 1), the energy
    moves by at most 2 e d + d^2, and its logarithm by that over the energy, plus the rounding of the
    logarithm itself. Kaldi's weights come from mels in f32: an error of 4 eps times the mel over the
    triangle's half width, and the power under a triangle is at most the energy of it and its neighbours,
    whose weights sum to 1.
    """
    length, shift, padded = int(rate * 0.025), int(rate * 0.010), 512 if rate == 16000 else 256
    extended = numpy.pad(samples.astype(numpy.float64) * scale, length, mode="symmetric")
    loudest = max(numpy.linalg.norm(extended[i:i + 2 * length]) for i in range(0, len(extended), shift))
    error = EPSILON * numpy.log2(padded) * loudest
    energy = numpy.exp(features.astype(numpy.float64))
    mel = 1127 * numpy.log(1 + rate / 2 / 700)
    weights = 4 * EPSILON * mel / (mel / (features.shape[1] + 2))
    neighbours = numpy.pad(energy, ((0, 0), (1, 1)), mode="edge")
    near = neighbours[:, :-2] + neighbours[:, 1:-1] + neighbours[:, 2:]
    relative = (2 * numpy.sqrt(energy) * error + error**2 + weights * near) / energy
    return numpy.log1p(relative) + 4 * EPSILON * numpy.abs(features) + 32 * EPSILON


SETTINGS = [{}, {"snip_edges": False}, {"bins": 40, "low_freq": 60, "high_freq": -200},
            {"use_energy": True, "raw_energy": False, "window": "hamming"},
            {"use_energy": True, "energy_floor": 1e9, "remove_dc_offset": False, "preemphasis": 0, "window": "hann"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_filterbanks_are_those_of_kaldi(tool, settings):
    audios = [(member(m), 16000) for m in MEMBERS] + [(str(SPEECH / "7_theo_0.flac"), 8000)]
    for audio, rate in audios:
        samples = tool.values(op="read", audio=audio)
        expected = kaldi_features(samples, rate, **settings)
        ours = tool.values(op="fbank", audio=audio, **settings).reshape(expected.shape)
        bound = kaldi_bound(expected, samples, rate)
        worst = numpy.max(numpy.abs(ours - expected) / bound)
        assert worst <= 1, (audio, worst)
        # The bound says something: most values agree to four digits.
        assert numpy.median(bound) < 1e-3
        chunked = tool.values(op="fbank", audio=audio, chunk=317, **settings).reshape(expected.shape)
        assert numpy.array_equal(ours, chunked)


@pytest.mark.parametrize("bins", [80, 128])
def test_whisper_features_are_those_of_transformers(tool, bins):
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    for name in MEMBERS:
        samples = tool.values(op="read", audio=member(name))
        expected = extractor(samples, sampling_rate=16000, return_tensors="np").input_features[0].T
        ours = tool.values(op="whisper", audio=member(name), bins=bins).reshape(expected.shape)
        # Values are (log10 energy + 4) / 4. torch's FFT in f32 has errors of eps * log2(400) times the
        # loudest frame's norm, beside a floor 8 powers of ten below the loudest energy.
        energy = 10.0 ** (4 * expected.astype(numpy.float64) - 4)
        error = numpy.sqrt(energy.max()) * EPSILON * numpy.log2(400)
        bound = numpy.log10(1 + (2 * numpy.sqrt(energy) * error + error**2) / energy) / 4 + 8 * EPSILON
        assert numpy.all(numpy.abs(ours - expected) <= bound)
        assert numpy.abs(ours - expected).max() < 1e-3


def test_utterance_normalisation_is_numpy(tool):
    plain = tool.values(op="fbank", audio=member(MEMBERS[2])).reshape(-1, 80).astype(numpy.float64)
    expected = (plain - plain.mean(0)) / plain.std(0)
    ours = tool.values(op="cmvn", audio=member(MEMBERS[2])).reshape(-1, 80)
    # Shift (up to 20) and scale (above 1/5) are rounded to f32.
    assert numpy.abs(ours - expected).max() < 20 * 4 * EPSILON


def test_containers_decode_as_soundfile_does(tool, tmp_path):
    samples, rate = soundfile.read(SPEECH / "7_theo_0.flac", dtype="float32")
    stereo = numpy.stack([samples, 0.5 * samples], axis=1)
    formats = {"wav": "PCM_16", "flac": "PCM_24", "ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III",
               "aiff": "PCM_16"}
    for extension, subtype in formats.items():
        path = tmp_path / f"a.{extension}"
        container = {"opus": "OGG"}.get(extension, extension.upper())
        soundfile.write(path, stereo, rate, format=container, subtype=subtype)
        expected, _ = soundfile.read(path, dtype="float32")
        ours = tool.values(op="read", audio=str(path))
        assert ours.size == expected.shape[0] > 0, extension
        # Both read through libsndfile; the Python package brings newer codecs, which round differently.
        tolerance = {"ogg": 1e-4, "opus": 1e-3, "mp3": 1e-4}.get(extension, EPSILON)
        assert numpy.abs(ours - expected.mean(1)).max() <= tolerance, extension


def test_manifest_lists_members(tool):
    answer = tool.ask(op="manifest", path=str(SPEECH / "kathleen.tsv"))
    rows = [line.split("\t") for line in (SPEECH / "kathleen.tsv").read_text().splitlines()]
    assert answer["utterances"] == [[i, member(i), text, ""] for i, text in rows]
