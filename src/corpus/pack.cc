#include "corpus/pack.h"

#include <filesystem>
#include <vector>

#include "base/hash.h"
#include "base/progress.h"
#include "corpus/document_reader.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Text that is tokenised before the result is written.
constexpr size_t kBatchBytes = size_t{8} << 20;

struct Job {
  std::string text;
  std::vector<int32_t> tokens;
};

// Fills `jobs` with the next documents and returns how many.
size_t ReadBatch(DocumentReader& reader, std::vector<Job>* jobs) {
  size_t count = 0, bytes = 0;
  while (bytes < kBatchBytes) {
    if (count == jobs->size()) jobs->emplace_back();
    if (!reader.Next(&(*jobs)[count].text)) break;
    bytes += (*jobs)[count++].text.size();
  }
  return count;
}

int32_t EndToken(const CorpusOptions& options, const Tokenizer& tokenizer) {
  if (!options.append_eos) return -1;
  const std::vector<int32_t> eos = tokenizer.eos();
  if (!eos.empty()) return eos.front();
  throw Error({.function = "PackFile",
               .problem = "the tokenizer has no end-of-text token",
               .expected = "false, or another tokenizer",
               .field = "append_eos"});
}

}  // namespace

void PackFile(const std::string& file, const CorpusOptions& options, const Tokenizer& tokenizer,
              const ShardHeader& header, const std::string& shard_path, ThreadPool& pool,
              bool quiet) {
  const EncodeOptions encode{.add_special = options.add_special,
                             .parse_special = options.parse_special};
  const int32_t eos = EndToken(options, tokenizer);
  DocumentReader reader(file, options.unit, options.field);
  ShardWriter writer(shard_path, header);
  Progress progress("packing " + std::filesystem::path(file).filename().string(),
                    static_cast<int64_t>(std::filesystem::file_size(file)), quiet);
  std::vector<Job> jobs;
  for (int64_t shown = 0; const size_t count = ReadBatch(reader, &jobs);) {
    pool.ParallelFor(static_cast<int64_t>(count), [&](int64_t i) {
      Job& job = jobs[static_cast<size_t>(i)];
      job.tokens = tokenizer.Encode(job.text, encode);
      if (eos >= 0 && (job.tokens.empty() || job.tokens.back() != eos)) job.tokens.push_back(eos);
    });
    for (size_t i = 0; i < count; ++i) {
      if (!jobs[i].tokens.empty()) writer.Add(jobs[i].tokens, HashText(jobs[i].text));
    }
    progress.Add(reader.position() - shown);
    shown = reader.position();
  }
  if (writer.documents() == 0) {
    throw Error({.function = "PackFile",
                 .problem = "no document",
                 .expected = "a file with text",
                 .file = file});
  }
  writer.Commit();
}

}  // namespace rondo
