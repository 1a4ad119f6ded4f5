// Drives speech models from other languages.
//
//   speech_tool MODEL '{"op": "logits", "features": "f.f32", "tokens": [1, 2], "out": "l.f32"}'
//
// Operations: encode (hidden rows of the encoder), logits (of every token), attention (of
// "heads": [[depth, head], …] over the utterance), save (to "directory"). Values go to "out" as raw
// f32; prints {"count": …}, or {"error": message}. "type" is that of the matrices in memory.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "rondo/error.h"
#include "rondo/speech_model.h"
#include "rondo/thread_pool.h"
#include "speech/decoder.h"
#include "speech/encoder.h"

namespace rondo {
namespace {

using Json = nlohmann::json;

std::vector<float> ReadFloats(const std::string& path) {
  const auto file = MappedFile::Open(path);
  std::vector<float> values(file->bytes().size() / sizeof(float));
  std::memcpy(values.data(), file->bytes().data(), values.size() * sizeof(float));
  return values;
}

std::vector<float> Values(const SpeechModel& model, const Json& request) {
  ThreadPool pool;
  const DType type = DTypeFromName(request.value("type", "f32"));
  const SpeechEncoder encoder(model, type, pool);
  std::vector<float> hidden = encoder.Run(ReadFloats(request.at("features")), {});
  const std::string op = request.at("op");
  if (op == "encode") return hidden;
  const SpeechDecoder decoder(model, type, pool);
  const DecoderMemory memory = decoder.Remember(hidden);
  const auto tokens = request.at("tokens").get<std::vector<int32_t>>();
  if (op == "attention") {
    const auto heads = request.at("heads").get<std::vector<std::array<int, 2>>>();
    return decoder.CrossAttention(memory, tokens, heads);
  }
  // The first half as a prompt, the rest one by one: as decoding does it.
  DecoderText text = decoder.Begin();
  const size_t prompt = (tokens.size() + 1) / 2;
  std::vector<float> logits = decoder.Run(memory, text, std::span(tokens).first(prompt), true);
  for (size_t i = prompt; i < tokens.size(); ++i) {
    const auto next = decoder.Run(memory, text, std::span(tokens).subspan(i, 1));
    logits.insert(logits.end(), next.begin(), next.end());
  }
  return logits;
}

Json Run(const std::string& path, const std::string& text) {
  try {
    const Json request = ParseJsonChecked(text, "request");
    const SpeechModel model = LoadSpeechModel(path);
    if (request.at("op") == "save") {
      SaveSpeechModel(model, request.at("directory"), DTypeFromName(request.value("type", "f32")));
      return {{"count", 0}};
    }
    const std::vector<float> values = Values(model, request);
    AtomicFile file(request.at("out"));
    file.Write(values.data(), values.size() * sizeof(float));
    file.Commit();
    return {{"count", values.size()}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: speech_tool MODEL REQUEST\n";
    return 2;
  }
  std::cout << rondo::Run(argv[1], argv[2]).dump() << '\n';
  return 0;
}
