"""Error rates against jiwer, BLEU and chrF against sacrebleu, on sentences with errors of every kind."""

import json
import random
import subprocess

import jiwer
import pytest
import sacrebleu
from conftest import BUILD

SENTENCES = [
    "Author of the danger trail, Philip Steels, etc.",
    "Not at this particular case, Tom, apologized Whittemore.",
    "It cost $1,234.50 - or 3.5% more than in 1999-2000!",
    "\"Who's there?\" he asked; nobody (not even the dog) answered: silence...",
    "Émile a flanqué des coups de poing à son ami en pleine figure.",
    "A.B.C. and D/E are letters & so is F_G [sic] {really} ~ok~",
    "Wa ámitúúngá obia itsωώ s' éléngé",
    "Zwei Männer stehen am Herd und bereiten Essen zu, 2,5 kg.",
    "no", "yes yes no", "x-ray 5-fold 7 -8", "&quot;quoted&quot; &amp; more",
]


def damaged(text, rng):
    """The sentence with words dropped, doubled, swapped and misspelt."""
    words = []
    for word in text.split():
        draw = rng.random()
        if draw < 0.1:
            continue
        if draw < 0.2:
            words.append(word)
        if 0.2 <= draw < 0.3:
            word = word[:-1] + rng.choice("aeé.,-")
        if 0.3 <= draw < 0.35:
            word = word.upper()
        words.append(word)
    return " ".join(words) or "nothing"


def odd_spaces(text, rng):
    """The sentence with spaces of other kinds, some doubled, some at the ends."""
    spaces = [" ", " ", "\u00a0", "\u202f", "\u3000", "\u2028", "\u0085", "\x1c", "\x0b", "  ", " \u00a0"]
    text = "".join(rng.choice(spaces) if c == " " else c for c in text)
    return rng.choice(["", "\u00a0", " "]) + text + rng.choice(["", "\u3000"])


def corpora():
    rng = random.Random(1)
    yield "identical", SENTENCES, SENTENCES
    yield "unrelated", ["a b c"], ["d e f g"]
    yield "short", ["the cat"], ["the cat"]
    for seed in range(12):
        texts = [rng.choice(SENTENCES) for _ in range(1 + seed)]
        odd = [odd_spaces(damaged(t, rng), rng) for t in texts]
        yield f"odd-spaces-{seed}", [odd_spaces(t, rng) for t in texts], odd
    for seed in range(12):
        references = [rng.choice(SENTENCES) for _ in range(1 + seed * 2)]
        yield f"damaged-{seed}", references, [damaged(text, rng) for text in references]


@pytest.mark.parametrize("name,references,hypotheses", list(corpora()), ids=lambda v: v if isinstance(v, str) else "")
def test_metrics(name, references, hypotheses, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{r}\t{h}\n" for r, h in zip(references, hypotheses)), newline="")
    got = json.loads(subprocess.run([BUILD / "bin" / "text_metrics_tool", pairs], capture_output=True, check=True,
                                    timeout=60).stdout)
    assert got["wer"] == pytest.approx(jiwer.wer(references, hypotheses), rel=1e-12)
    assert got["cer"] == pytest.approx(jiwer.cer(references, hypotheses), rel=1e-12)
    assert got["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score, rel=1e-9, abs=1e-9)
    assert got["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score, rel=1e-9, abs=1e-9)
