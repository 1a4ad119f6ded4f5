// Drives the text room from other languages: one JSON request a line on standard input, one JSON
// answer a line on standard output.
//
//   tokenize_tool MODEL < requests
//
//   {"op": "encode", "hex": "48c3a9", "add_special": true, "parse_special": true}  -> {"ids": […]}
//   {"op": "decode", "ids": […], "before": […], "skip_special": true}           -> {"text": …,
//   "stream": […]}
//   {"op": "chat", "messages": [{"role": …, "content": …}], "add_generation_prompt": true}
//   {"op": "info"}                                               -> {"bos": …, "eos": […], …}
//   {"op": "write_files", "directory": …}  {"op": "write_gguf", "file": …, "vocab_size": …}
//   {"op": "time", "file": …}                                    -> {"cpu_seconds": …, "tokens": …,
//   "bytes": …}
//
// A failed request is answered by {"error": message}.
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/gguf.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "text/tokenizer/gguf_vocab.h"

namespace rondo {
namespace {

using Json = nlohmann::json;

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Json Encode(const Tokenizer& tokenizer, const Json& request) {
  const EncodeOptions options{.add_special = request.value("add_special", true),
                              .parse_special = request.value("parse_special", true)};
  return {{"ids", tokenizer.Encode(FromHex(request.at("hex")), options)}};
}

Json Decode(const Tokenizer& tokenizer, const Json& request) {
  const auto ids = request.at("ids").get<std::vector<int32_t>>();
  const bool skip_special = request.value("skip_special", true);
  const auto before = request.value("before", std::vector<int32_t>());
  StreamDecoder stream(tokenizer, skip_special, before);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(stream.Push(id));
  pieces.push_back(stream.Flush());
  return {{"text", tokenizer.Decode(ids, skip_special)}, {"stream", pieces}};
}

Json Chat(const Tokenizer& tokenizer, const Json& request) {
  std::vector<ChatMessage> messages;
  for (const Json& message : request.at("messages")) {
    messages.push_back({message.at("role"), message.at("content")});
  }
  return {{"text",
           tokenizer.ApplyChatTemplate(messages, request.value("add_generation_prompt", true))}};
}

Json Time(const Tokenizer& tokenizer, const Json& request) {
  const std::string text = ReadTextFile(request.at("file"));
  const std::clock_t start = std::clock();
  const size_t tokens = tokenizer.Encode(text, {.add_special = false}).size();
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return {{"cpu_seconds", seconds}, {"tokens", tokens}, {"bytes", text.size()}};
}

Json Answer(const std::string& model, const Tokenizer& tokenizer, const Json& request) {
  const std::string op = request.at("op");
  if (op == "encode") return Encode(tokenizer, request);
  if (op == "decode") return Decode(tokenizer, request);
  if (op == "chat") return Chat(tokenizer, request);
  if (op == "time") return Time(tokenizer, request);
  if (op == "info") {
    return {{"bos", tokenizer.bos()},
            {"eos", tokenizer.eos()},
            {"vocab_size", tokenizer.vocab_size()},
            {"has_chat_template", tokenizer.HasChatTemplate()}};
  }
  if (op == "write_files") {
    WriteTokenizerFiles(model, request.at("directory"));
    return Json::object();
  }
  if (op == "write_gguf") {
    GgufWriter writer;
    writer.SetString("general.architecture", "llama");
    SetGgufTokenizer(model, writer, request.value("vocab_size", 0));
    writer.Write(request.at("file"));
    return Json::object();
  }
  return {{"error", "unknown op " + op}};
}

int Run(const std::string& model) {
  const auto tokenizer = LoadTokenizer(model);
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      answer = Answer(model, *tokenizer, Json::parse(line));
    } catch (const Error& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize_tool MODEL\n";
    return 2;
  }
  try {
    return rondo::Run(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
