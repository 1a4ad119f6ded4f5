"""Gemma 3's real vocabulary (262,144 pieces) against sentencepiece and transformers."""

import pytest
import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2
from test_tokenizers import Tool, check_decode, check_equal, gguf_fields, strings
from text_corpus import everything


@pytest.fixture(scope="module")
def oracle(gemma3):
    """The GGUF vocabulary as a SentencePiece model with Gemma's options."""
    fields = gguf_fields(gemma3)
    proto = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.scores"],
                                  fields["tokenizer.ggml.token_type"], strict=True):
        piece = token.replace(" ", "▁") if kind == 4 else token
        proto.pieces.add(piece=piece, score=score, type=2 if token == "<unk>" else kind)
    trainer = proto.trainer_spec
    trainer.model_type, trainer.byte_fallback, trainer.vocab_size = trainer.BPE, True, len(proto.pieces)
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece = "<pad>", "<eos>", "<bos>"
    normalizer = proto.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", False, False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


@pytest.mark.slow
def test_gemma3(gemma3, oracle, tmp_path):
    data = everything(sweep=True)
    tool = Tool(gemma3)
    ours = tool.encode(data, add_special=False)
    check_equal(ours, [oracle.encode(t) for t in strings(data)], data)
    assert tool.encode([b"Hi"])[0][0] == oracle.bos_id()
    assert tool.encode([b"<start_of_turn>user\nHi<end_of_turn>"]) == [[2, 105, 2364, 107, 10979, 106]]

    assert tool.ask(op="write_files", directory=str(tmp_path)) == {}
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    check_equal(ours, [loaded(t, add_special_tokens=False)["input_ids"] for t in strings(data)], data)
    check_equal(Tool(tmp_path).encode(data, add_special=False), ours, data)
    check_decode(loaded, tool, ours[:400])
