// Drives the corpus room from other languages.
//
//   corpus_tool MODEL CACHE '{"files": ["a.txt"], "unit": "line", "held_out": 0.1}'
//
// packs what is missing and prints {"train": [[ids of a document], …], "held_out": […]}, or
// {"error": message}. Keys are the fields of CorpusOptions; "threads" is the number of threads, and
// "count_only" prints how many documents and tokens each side has, and the time it took.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "base/stopwatch.h"
#include "corpus/token_data.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace rondo {
namespace {

using Json = nlohmann::json;

CorpusOptions ReadOptions(const Json& json) {
  JsonObject object(json, "corpus_tool", "options");
  CorpusOptions options;
  options.files = object.Strings("files");
  options.unit = DocumentUnitFromName(object.String("unit", "paragraph"));
  options.field = object.String("field", options.field);
  options.add_special = object.Bool("add_special", options.add_special);
  options.append_eos = object.Bool("append_eos", options.append_eos);
  options.parse_special = object.Bool("parse_special", options.parse_special);
  options.held_out = object.Number("held_out", options.held_out);
  options.held_out_documents = object.Int("held_out_documents", 0);
  options.held_out_seed = static_cast<uint64_t>(object.Int("held_out_seed", 0));
  const std::string_view own[] = {"threads", "count_only"};
  object.Ignore(own);
  object.RefuseUnknownKeys();
  return options;
}

Json Documents(const TokenData& data) {
  Json documents = Json::array();
  for (int64_t i = 0; i < data.documents(); ++i) {
    std::vector<int32_t> ids(static_cast<size_t>(data.DocumentEnd(i) - data.DocumentBegin(i)));
    data.Read(data.DocumentBegin(i), ids);
    documents.push_back(ids);
  }
  return documents;
}

Json Count(const TokenData& data) {
  return {{"documents", data.documents()}, {"tokens", data.tokens()}};
}

Json Run(const std::string& model, const std::string& cache, const std::string& request) {
  try {
    const Json json = ParseJsonChecked(request, "options");
    ThreadPool pool(json.value("threads", 0));
    const auto tokenizer = LoadTokenizer(model);
    const Stopwatch watch;
    const TokenSplit split = OpenCorpus(ReadOptions(json), *tokenizer, cache, pool);
    const double seconds = watch.Seconds();
    if (json.value("count_only", false)) {
      return {{"train", Count(*split.train)},
              {"held_out", Count(*split.held_out)},
              {"seconds", seconds}};
    }
    return {{"train", Documents(*split.train)}, {"held_out", Documents(*split.held_out)}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: corpus_tool MODEL CACHE OPTIONS\n";
    return 2;
  }
  std::cout << rondo::Run(argv[1], argv[2], argv[3]).dump() << '\n';
  return 0;
}
