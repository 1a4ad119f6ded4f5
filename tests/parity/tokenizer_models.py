"""Tokenizers of every family, written as their publishers write them, with small vocabularies.

Vocabularies are trained here; the components around them are those of the published tokenizer.json.
"""

import io
import json
import lzma

import sentencepiece
from conftest import DATA
from sentencepiece import sentencepiece_model_pb2
from text_corpus import training_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def train_byte_level(tokenizer, tokens, vocab_size=1200):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.add_special_tokens(tokens)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2_merges():
    text = lzma.open(DATA / "tokenizers" / "gpt2-vocab.bpe.xz", "rt", encoding="utf-8").read()
    return [tuple(line.split()) for line in text.splitlines()[1:] if line]


def gpt2():
    """GPT-2's own vocabulary: the byte alphabet, what the merges make, one special token."""
    alphabet = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [chr(c) for c in alphabet]
    tokens += [chr(0x100 + i) for i in range(256 - len(tokens))]
    merges = gpt2_merges()
    vocab = {token: i for i, token in enumerate(tokens + ["".join(m) for m in merges] + ["<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    return tokenizer


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level(False)])
    train_byte_level(tokenizer, [special(t) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>",
                                                      "<|start_header_id|>", "<|end_header_id|>")])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing("<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)])])
    return tokenizer


def qwen2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level(False)])
    train_byte_level(tokenizer, [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def neox():
    """Pythia: runs of spaces are added tokens that are looked for in normalised text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level()
    train_byte_level(tokenizer, [special("<|endoftext|>"), special("<|padding|>")])
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return tokenizer


def smollm():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    return train_byte_level(tokenizer, [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])


def gpt4o():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(GPT4O), "isolated"), byte_level(False)])
    return train_byte_level(tokenizer, [special("<|endoftext|>")])


def flags():
    """Every flag of added tokens, and a prefix space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    train_byte_level(tokenizer, [special("<mask>", lstrip=True), special("<r>", rstrip=True),
                                 special("<b>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=False), AddedToken("wording"),
                          AddedToken("<x"), AddedToken("<xy>"), AddedToken("é", normalized=True)])
    return tokenizer


def split_behaviors():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(), normalizers.Replace(Regex(r"\s{3,}"), "  "),
         normalizers.Replace("--", "—")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"[0-9]"), "contiguous"), pre_tokenizers.Split(",", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"\p{P}"), "merged_with_next"), pre_tokenizers.Split(";", "removed"),
        pre_tokenizers.Split(Regex(r"\p{L}+"), "isolated", invert=True), pre_tokenizers.Digits(False),
        byte_level(False)])
    return train_byte_level(tokenizer, [special("<s>")])


def train_sentencepiece(vocab_size=900, **options):
    model = io.BytesIO()
    settings = dict(model_type="bpe", character_coverage=0.98, normalization_rule_name="identity",
                    byte_fallback=True, remove_extra_whitespaces=False, split_digits=True,
                    allow_whitespace_only_pieces=True, max_sentence_length=20000, minloglevel=2)
    settings.update(options)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(training_text()), model_writer=model,
                                             vocab_size=vocab_size, **settings)
    return model.getvalue()


def pieces_and_merges(model):
    """Vocabulary and merges of a SentencePiece model, ranked as Hugging Face's converters rank them."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    scores = {p.piece: p.score for p in proto.pieces if p.type == 1}
    merges = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            if piece[:cut] in scores and piece[cut:] in scores:
                merges.append((score, vocab[piece], piece[:cut], piece[cut:]))
    merges.sort(key=lambda m: (-m[0], m[1], -len(m[2])))
    return vocab, [(left, right) for _, _, left, right in merges]


def llama2():
    """Llama 2, Mistral and TinyLlama: prefix and metaspaces by normalizers."""
    vocab, merges = pieces_and_merges(train_sentencepiece())
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([special("<unk>"), special("<s>"), special("</s>")])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    return tokenizer


def metaspace(scheme, byte_fallback=True):
    """Newer Llama 2 and Mistral files: a Metaspace pre-tokenizer."""
    vocab, merges = pieces_and_merges(train_sentencepiece(byte_fallback=byte_fallback))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=scheme == "always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme=scheme)
    tokenizer.add_special_tokens([special("<s>"), special("</s>")])
    return tokenizer


def gemma():
    """Spaces become metaspaces, no prefix; runs of newlines and spaces are added tokens."""
    vocab, merges = pieces_and_merges(train_sentencepiece(add_dummy_prefix=False))
    runs = ["\n" * n for n in range(1, 8)] + ["▁" * n for n in range(2, 8)]
    for run in runs:
        vocab.setdefault(run, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([special("<s>"), special("</s>"), special("<start_of_turn>")])
    tokenizer.add_tokens([AddedToken(run, normalized=False) for run in runs])
    return tokenizer


def train_words(tokenizer, tokens, trainer, **options):
    tokenizer.train_from_iterator(training_text(), trainer(vocab_size=1200, special_tokens=tokens, show_progress=False,
                                                           **options))
    return tokenizer


def whitespace():
    """As the quick tour of tokenizers trains one."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return train_words(tokenizer, ["[UNK]", "[CLS]"], trainers.BpeTrainer)


def words_and_marks():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.CharDelimiterSplit("x")])
    return train_words(tokenizer, ["[UNK]"], trainers.BpeTrainer)


def word_pattern():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+|\W"), "isolated")
    return train_words(tokenizer, ["[UNK]"], trainers.BpeTrainer)


def marked_words():
    """Tokens that say where in a word they stand."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return train_words(tokenizer, ["[UNK]"], trainers.BpeTrainer, continuing_subword_prefix="##",
                       end_of_word_suffix="</w>")


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train_words(tokenizer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], trainers.WordPieceTrainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def cased_bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=False, strip_accents=True, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return train_words(tokenizer, ["[UNK]"], trainers.WordPieceTrainer)


def unigram(byte_fallback):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    extra = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    train_words(tokenizer, ["<unk>", *extra], trainers.UnigramTrainer, unk_token="<unk>")
    if byte_fallback:
        parsed = json.loads(tokenizer.to_str())
        parsed["model"]["byte_fallback"] = True
        parsed["added_tokens"] = []
        tokenizer = Tokenizer.from_str(json.dumps(parsed))
    return tokenizer


FAMILIES = {
    "gpt2": gpt2, "llama3": llama3, "qwen2": qwen2, "neox": neox, "smollm": smollm, "gpt4o": gpt4o,
    "flags": flags, "splits": split_behaviors, "llama2": llama2, "gemma": gemma,
    "whitespace": whitespace, "words-and-marks": words_and_marks, "word-pattern": word_pattern,
    "marked-words": marked_words, "bert": bert, "cased-bert": cased_bert,
    "unigram": lambda: unigram(False), "unigram-bytes": lambda: unigram(True),
    "metaspace-first": lambda: metaspace("first"), "metaspace-always": lambda: metaspace("always", False),
}


def save(tokenizer, directory, **config):
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}))
    return directory
