#include "hub/llama2c_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;

const std::string kStories = std::string(RONDO_TEST_DATA) + "/models/stories260K/stories260K.bin";

using Header = std::array<int32_t, 7>;
constexpr Header kTiny = {8, 12, 2, 2, 1, 5, 6};  // dim, hidden, layers, heads, kv, vocab, seq

// Floats 0, 1, 2, … behind a header: a value tells where in the file it stood.
std::string CountingFile(const Header& header, size_t floats) {
  std::string out(reinterpret_cast<const char*>(header.data()), sizeof(header));
  for (size_t i = 0; i < floats; ++i) {
    const auto value = static_cast<float>(i);
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return out;
}

// Embedding, two layers of norms, q, k, v, o, gate, down and up, final norm, two tables.
constexpr size_t kTinyLayer = 8 + 64 + 32 + 32 + 64 + 8 + 96 + 96 + 96;
constexpr size_t kTinyFloats = 40 + 2 * kTinyLayer + 8 + 2 * 6 * 2;

Model LoadText(const std::string& content, LoadParts parts = LoadParts::kAll) {
  TempDir dir;
  std::ofstream(dir.File("m.bin"), std::ios::binary) << content;
  return LoadLlama2c(dir.File("m.bin"), parts);
}

TEST(Llama2cModelTest, RealModel) {
  const Model model = LoadLlama2c(kStories, LoadParts::kAll);
  const ModelConfig& config = model.config;
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.layers, 5);
  EXPECT_EQ(config.d_model, 64);
  EXPECT_EQ(config.d_ff, 172);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.vocab, 512);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_EQ(config.norm_eps, 1e-5f);
  EXPECT_EQ(config.rope_theta, 10000.0f);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(CountParameters(config, model.plan).Total(), 260032);
  EXPECT_EQ(LoadLlama2c(kStories, LoadParts::kConfig).config, config);
  EXPECT_EQ(LoadLlama2c(kStories, LoadParts::kConfig).weights.size(), 0u);
}

TEST(Llama2cModelTest, TensorsComeFromTheirPlaces) {
  const Model model = LoadText(CountingFile(kTiny, kTinyFloats));
  const auto first = [&](const char* name) { return ToF32(model.weights.Get(name))[0]; };
  EXPECT_EQ(first("embed.weight"), 0);
  EXPECT_EQ(first("blocks.0.attn_norm.weight"), 40);
  EXPECT_EQ(first("blocks.1.attn_norm.weight"), 48);
  EXPECT_EQ(first("blocks.0.q.weight"), 56);
  EXPECT_EQ(first("blocks.1.q.weight"), 120);
  EXPECT_EQ(first("blocks.0.k.weight"), 184);
  EXPECT_EQ(first("blocks.0.v.weight"), 248);
  EXPECT_EQ(first("blocks.0.o.weight"), 312);
  EXPECT_EQ(first("blocks.0.ffn_norm.weight"), 440);
  EXPECT_EQ(first("blocks.0.gate.weight"), 456);
  EXPECT_EQ(first("blocks.0.down.weight"), 648);
  EXPECT_EQ(first("blocks.0.up.weight"), 840);
  EXPECT_EQ(first("final_norm.weight"), 1032);
}

TEST(Llama2cModelTest, QueryAndKeyRowsAreInHalfSplitOrder) {
  const Model model = LoadText(CountingFile(kTiny, kTinyFloats));
  // A head has 4 rows of 8 values; Meta's rows 0 1 2 3 become 0 2 1 3.
  const std::vector<float> q = ToF32(model.weights.Get("blocks.0.q.weight"));
  EXPECT_EQ(q[8], 56 + 16);
  EXPECT_EQ(q[16], 56 + 8);
  EXPECT_EQ(q[40], 56 + 48);
  EXPECT_EQ(ToF32(model.weights.Get("blocks.0.k.weight"))[8], 184 + 16);
  EXPECT_EQ(ToF32(model.weights.Get("blocks.0.v.weight"))[8], 248 + 8);
}

TEST(Llama2cModelTest, NegativeVocabularyMeansAHeadOfItsOwn) {
  Header header = kTiny;
  header[5] = -5;
  const Model model = LoadText(CountingFile(header, kTinyFloats + 40));
  EXPECT_FALSE(model.config.tied_embeddings);
  EXPECT_EQ(model.config.vocab, 5);
  EXPECT_EQ(ToF32(model.weights.Get("head.weight"))[0], kTinyFloats);
}

TEST(Llama2cModelTest, MalformedFilesAreRefusedByField) {
  const std::string valid = CountingFile(kTiny, kTinyFloats);
  const auto with = [&](size_t field, int32_t value) {
    std::string out = valid;
    std::memcpy(out.data() + 4 * field, &value, sizeof(value));
    return out;
  };
  struct Case {
    const char* name;
    std::string content;
    const char* field;
  };
  const std::vector<Case> cases = {
      {"empty", "", "header"},
      {"half a header", valid.substr(0, 27), "header"},
      {"only a header", valid.substr(0, 28), "length"},
      {"one byte short", valid.substr(0, valid.size() - 1), "length"},
      {"one byte too many", valid + "x", "length"},
      {"one table too many", valid + std::string(48, '\0'), "length"},
      {"versioned file", with(0, 0x616b3432), "header"},
      {"width 0", with(0, 0), "dim"},
      {"negative width", with(0, -8), "dim"},
      {"huge width", with(0, INT32_MAX), "dim"},
      {"width not divided by heads", with(3, 3), "n_heads"},
      {"odd heads", with(3, 8), "rotary_dim"},
      {"hidden 0", with(1, 0), "hidden_dim"},
      {"no layers", with(2, 0), "n_layers"},
      {"more layers than allowed", with(2, 100000), "layers"},
      {"more layers than stored", with(2, 3), "length"},
      {"no heads", with(3, 0), "n_heads"},
      {"KV heads do not divide", with(4, 3), "kv_heads"},
      {"vocabulary of least int", with(5, INT32_MIN), "vocab_size"},
      {"vocabulary 0", with(5, 0), "vocab_size"},
      {"head announced but absent", with(5, -5), "length"},
      {"no positions", with(6, 0), "seq_len"},
      {"huge tables", with(6, 1 << 24), "length"},
      {"tokenizer", ReadTextFile(std::string(RONDO_TEST_DATA) + "/models/stories260K/tok512.bin"),
       "hidden_dim"},
  };
  ASSERT_NO_THROW(LoadText(valid));
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    for (const LoadParts parts : {LoadParts::kAll, LoadParts::kConfig}) {
      try {
        LoadText(c.content, parts);
        ADD_FAILURE() << "was accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.info().field, c.field) << error.what();
        EXPECT_THAT(error.info().file, HasSubstr("m.bin"));
      }
    }
  }
}

}  // namespace
}  // namespace rondo
