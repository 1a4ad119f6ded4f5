"""Whisper in rondo against transformers: random models logit by logit, the real one text by text."""

import json
import subprocess

import numpy
import pytest
import torch
import transformers
from conftest import BUILD, ROOT
from whisper_models import real_model, tiny_model

EPSILON = numpy.finfo(numpy.float32).eps


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
