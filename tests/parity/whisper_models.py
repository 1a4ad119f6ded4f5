"""Whisper for transformers: small random ones, and the real one out of CTranslate2's file."""

import json
import pathlib
import struct

import numpy
import torch
import transformers

FUSED = {"self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
         "self_attention/linear_1": ["self_attn.out_proj"], "self_attention/layer_norm": ["self_attn_layer_norm"],
         "attention/linear_0": ["encoder_attn.q_proj"], "attention/linear_2": ["encoder_attn.out_proj"],
         "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
         "attention/layer_norm": ["encoder_attn_layer_norm"], "ffn/linear_0": ["fc1"], "ffn/linear_1": ["fc2"],
         "ffn/layer_norm": ["final_layer_norm"]}
ENDS = {"weight": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


def tiny_config(**changes):
    settings = dict(vocab_size=199, num_mel_bins=24, d_model=64, encoder_layers=3, decoder_layers=2,
                    encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=96, decoder_ffn_dim=112,
                    max_source_positions=120, max_target_positions=40, pad_token_id=0, bos_token_id=1,
                    eos_token_id=2, decoder_start_token_id=3, suppress_tokens=None, begin_suppress_tokens=None)
    return transformers.WhisperConfig(**{**settings, **changes})


def tiny_model(seed=0, **changes):
    torch.manual_seed(seed)
    model = transformers.WhisperForConditionalGeneration(tiny_config(**changes)).eval()
    with torch.no_grad():  # norms and biases that do something
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(0.3 * torch.randn_like(value))
            elif "embed" not in name:
                value.mul_(3)
    return model


def read_ctranslate2(path):
    data, at, variables = pathlib.Path(path).read_bytes(), 0, {}

    def number(form):
        nonlocal at
        value, = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        size = number("<H")
        at += size
        return data[at - size:at - 1].decode()

    number("<I"), text(), number("<I")
    for _ in range(number("<I")):
        name = text()
        shape = [number("<I") for _ in range(number("<B"))]
        kind, size = number("<B"), number("<I")
        if kind == 4:
            variables[name] = numpy.frombuffer(data, numpy.float16, size // 2, at).reshape(shape)
        at += size
    return variables


def real_model(directory):
    """whisper-base in transformers, f32, from models/whisper-base."""
    config = transformers.WhisperConfig(
        vocab_size=51865, num_mel_bins=80, d_model=512, encoder_layers=6, decoder_layers=6,
        encoder_attention_heads=8, decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048,
        max_source_positions=1500, max_target_positions=448, pad_token_id=50257, bos_token_id=50257,
        eos_token_id=50257, decoder_start_token_id=50258)
    state = {}
    for name, value in read_ctranslate2(directory / "model.bin").items():
        part, *rest, end = name.split("/")
        value = torch.from_numpy(value.astype(numpy.float32))
        if rest[0].startswith("layer_") and rest[0] != "layer_norm":
            names = FUSED["/".join(rest[1:])]
            prefix = f"model.{part}.layers.{rest[0][6:]}."
            for piece, target in zip(value.chunk(len(names)), names, strict=True):
                state[f"{prefix}{target}.{ENDS[end]}"] = piece
        elif rest[0] == "position_encodings":
            state[f"model.{part}.embed_positions.weight"] = value
        elif rest[0] == "embeddings":
            state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = value
        else:
            state[f"model.{part}.{rest[0]}.{ENDS[end]}"] = value
    state = {k: v for k, v in state.items() if not k.endswith("k_proj.bias")}
    model = transformers.WhisperForConditionalGeneration(config).eval()
    missing, surplus = model.load_state_dict(state, strict=False)
    assert not missing and not surplus, (missing, surplus)
    given = json.loads((directory / "config.json").read_text())
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    token = tokenizer.convert_tokens_to_ids
    model.generation_config = transformers.GenerationConfig(
        suppress_tokens=given["suppress_ids"], begin_suppress_tokens=given["suppress_ids_begin"],
        alignment_heads=given["alignment_heads"], eos_token_id=50257, pad_token_id=50257, bos_token_id=50257,
        decoder_start_token_id=50258, is_multilingual=True, no_timestamps_token_id=token("<|notimestamps|>"),
        task_to_id={"transcribe": token("<|transcribe|>"), "translate": token("<|translate|>")},
        lang_to_id={"<|en|>": token("<|en|>"), "<|de|>": token("<|de|>"), "<|fr|>": token("<|fr|>")},
        max_initial_timestamp_index=50, max_length=448, prev_sot_token_id=token("<|startofprev|>"))
    return model, tokenizer
