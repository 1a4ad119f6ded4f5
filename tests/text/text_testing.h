// A small byte-level tokenizer as JSON, for tests to break and bend.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/temp_dir.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/byte_level.h"
#include "text/unicode/utf8.h"

namespace rondo {

inline void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

// All 256 bytes (ids 0-255), then "he", "ll", "hell", "Ġhell" and <s> (260) and </s> (261).
inline nlohmann::json TinyTokenizerJson() {
  nlohmann::json vocab;
  for (int byte = 0; byte < 256; ++byte) {
    vocab[std::string(ByteLevelChar(static_cast<unsigned char>(byte)))] = byte;
  }
  const std::string space(ByteLevelChar(' '));
  vocab["he"] = 256;
  vocab["ll"] = 257;
  vocab["hell"] = 258;
  vocab[space + "hell"] = 259;
  const auto special = [](int id, const char* content) {
    return nlohmann::json{{"id", id},        {"content", content}, {"single_word", false},
                          {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                          {"special", true}};
  };
  const nlohmann::json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", {special(260, "<s>"), special(261, "</s>")}},
      {"normalizer", nullptr},
      {"pre_tokenizer", bytes},
      {"post_processor", nullptr},
      {"decoder", bytes},
      {"model",
       {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"h e", "l l", "he ll", space + " hell"}}}}};
}

// Loads the JSON text as tokenizer.json of a fresh directory.
inline std::shared_ptr<const Tokenizer> LoadJson(const std::string& text,
                                                 const std::string& config = {}) {
  const TempDir directory;
  WriteFile(directory.File("tokenizer.json"), text);
  if (!config.empty()) WriteFile(directory.File("tokenizer_config.json"), config);
  return LoadTokenizer(directory.File(""));
}

// Expects rondo::Error whose message has the given part.
template <typename Action>
void ExpectError(Action&& action, const std::string& part) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

}  // namespace rondo
