"""Texts that are hard to tokenize. All are deterministic; those of bytes are broken UTF-8."""

import functools
import random

CODE = '''def f(x: int = 0b1010) -> "Dict[str, int]":
\treturn {**a, 'k': x**2}  # naïve — “quotes”
#include <vector>\r\n\tfor (auto&& e : v) { std::cout << e << '\\n'; }\r\n
SELECT * FROM t WHERE a<>b AND c LIKE '%\\_%';\n\n\n    if (x) {\n        y += 1;\n    }\n'''

SCRIPTS = [
    "Hello world! It's 2024, isn't it? I'LL say: WE'VE they'd 'twas 'S 'ſ can’t",
    "Ünïcödé çà et là, œuvre, Straße, ĲSSEL, ﬁnal, Ǆ ǅ ǆ",
    "Ελληνικά γλώσσα, Русский язык, українська, Қазақ тілі, Ծննդյան, ქართული",
    "עברית שָׁלוֹם, العربية السَّلامُ عَلَيْكُم ١٢٣, فارسی می‌خواهم, اردو ۴۵۶, ܣܘܪܝܝܐ, ދިވެހި",
    "हिन्दी क्षत्रिय १२३, বাংলা ভাষা ৪৫, தமிழ் மொழி, తెలుగు, ಕನ್ನಡ, മലയാളം, සිංහල, ગુજરાતી, ਪੰਜਾਬੀ",
    "ภาษาไทย ๑๒๓ ไม่มีช่องว่าง, ລາວ, မြန်မာ ၁၂, ខ្មែរ ១២, བོད་ཡིག",
    "中文字符，测试。日本語のテキスト、カタカナ ｶﾀｶﾅ ひらがな。한국어 텍스트 한글 𠀀𠮷𪚥",
    "ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ᚠᚢᚦ ᠮᠣᠩᠭᠣᠯ አማርኛ ⵜⴰⵎⴰⵣⵉⵖⵜ 𐌰𐌱 𓀀𓂀 𒀀 𝔘𝔫𝔦 𝟘𝟙𝟚 ⅷ ½ ² ₃ ① ㊿ Ⅻ 〇",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☎︎ 🧑🏿‍🚀 1️⃣ #️⃣ 🫠🫨🪿 e\u0301 é a\u0323\u0307 a\u0307\u0323 가각",
    "e\u0301\u0323\u0300 \u1e0b\u0323 q\u0307\u0323 \u0344 \u212b \u2126 \uac00\u11a8 \u1100\u1161\u11a8 \u0f73",
]

WHITESPACE = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n \n", " \n", "\t", "\t\t x", "\r\n", "\r\n\r\n a", "a\n", "a \n b",
    "a  b   c    d", "  leading", "trailing  ", "\u00a0a\u00a0\u00a0b", "\u3000全角\u3000", "a\u2003\u2003b",
    "a\u200bb \u200d \u2060 \ufeff", "\u0085\u1680\u180e\u2028\u2029\u202f\u205f x", "a\x0b\x0cb",
    " " * 300 + "x" + " " * 77, "\n" * 130 + "x", "\t" * 65, " \n" * 50,
    "\u2581 \u2581\u2581a\u2581", "a\u2581b ▁▁▁▁ c",
]

CONTROL = ["".join(map(chr, range(0x21))), "".join(map(chr, range(0x7F, 0xA1))), "a\x00b\x00\x00 c",
           "\x1b[31mred\x1b[0m", "\x7f\x80\x9f", "\ud7ff\ue000\uffff\ufffe\ufffd\U0010ffff", "\U000e0041\U000e007f"]

BROKEN = [b"\xff", b"abc\xffdef", b"\xc3", b"\xe4\xbd", b"\xf0\x9f\x91", b"\xf0\x9f\x91 x", b"\xed\xa0\x80",
          b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
          b"\x80\x80\x80", b"ok \xe2\x82 ok", b"\xe2\x82\xac\xe2\x82", b"\xf0\x90\xf0\x90\x80\x80", bytes(range(256))]


def _random_texts(count, seed):
    rng = random.Random(seed)
    pools = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0xDFF), (0xE00, 0x1FFF),
             (0x2000, 0x2BFF), (0x3000, 0x9FFF), (0xA000, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x1FAFF),
             (0x20000, 0x323AF), (0xE0000, 0xE01EF)]
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(1, 60)):
            low, high = rng.choice(pools)
            text += "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4)))
            if rng.random() < 0.3:
                text += rng.choice([" ", "  ", "\n", "'s", "12", "a"])
        yield text


UNIFORM = [(0x3400, 0xA48C), (0xAC00, 0xD800), (0xE000, 0xF900), (0x17000, 0x18D00), (0x20000, 0xE0000),
           (0xE0200, 0x110000)]  # long runs of one kind: ideographs, syllables, private and unassigned


def _sweep():
    """Every code point, 128 a text, between letters, spaces and digits so that each class shows; of the
    uniform ranges one text in 32 and both ends."""
    for first in range(0, 0x110000, 128):
        inside = any(low < first < high - 128 for low, high in UNIFORM)
        codes = [c for c in range(first, first + 128) if not 0xD800 <= c < 0xE000]
        if codes and not (inside and first % 4096):
            yield "".join(f"a{chr(c)} {chr(c)}1{chr(c)}" for c in codes)


def broken_random(count=200, seed=5):
    rng = random.Random(seed)
    return [bytes(rng.choice([rng.randrange(256), rng.randrange(128, 256), 0xE2, 0x82, 0xF0, 0x9F])
                  for _ in range(rng.randint(1, 40))) for _ in range(count)]


def texts(sweep):
    long_words = ["a" * 5000, "ab" * 3000, "x" * 47, "x" * 48, "x" * 49, "é" * 3000, "你好" * 2000, "0" * 1000,
                  "!" * 1000, "abcdefghij" * 500, "Donaudampfschifffahrtsgesellschaft" * 60, "👍" * 500]
    return (SCRIPTS + [" ".join(SCRIPTS), CODE] + WHITESPACE + CONTROL + long_words
            + list(_random_texts(300, 1)) + (list(_sweep()) if sweep else []))


@functools.cache
def everything(sweep=False):
    """All texts as bytes; with `sweep`, every code point besides."""
    return [t.encode() for t in texts(sweep)] + BROKEN + broken_random()


def training_text():
    """A small corpus in many scripts for training vocabularies."""
    rng = random.Random(9)
    lines = SCRIPTS + CODE.splitlines() + [
        "The quick brown fox jumps over the lazy dog. " * 3, "It's what they've said; we'll see, won't we?",
        "In 1984 there were 365 days and 1,234,567 people.", "for i in range(10):    print(i)"]
    words = " ".join(SCRIPTS[:8]).split() + CODE.split() + "the of and in to a is that it was for on".split() * 5
    for _ in range(1500):
        lines.append(" ".join(rng.choice(words) for _ in range(12)))
    return lines
