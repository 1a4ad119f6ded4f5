// The byte alphabet of GPT-2's tokenizer: every byte has a printable character of its own, so that
// a vocabulary of strings can hold arbitrary bytes (Radford et al. 2019, "Language Models are
// Unsupervised Multitask Learners", section 2.2).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rondo {

// The character (UTF-8) that stands for `byte`.
std::string_view ByteLevelChar(unsigned char byte);
// Bytes -> byte alphabet.
std::string ToByteLevel(std::string_view bytes);
// Byte alphabet -> bytes; nothing if a character is not of the alphabet.
std::optional<std::string> FromByteLevel(std::string_view token);

// "<0x0A>" -> 0x0A, the form in which SentencePiece vocabularies name single bytes.
std::optional<unsigned char> ParseByteToken(std::string_view token);
std::string ByteTokenName(unsigned char byte);

}  // namespace rondo
