#include "text/tokenizer/merges.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "rondo/error.h"
#include "text/unicode/utf8.h"

namespace rondo {

MergeReader::MergeReader(const std::vector<std::string>& tokens, const std::string& file,
                         size_t prefix_bytes)
    : file_(file), prefix_bytes_(prefix_bytes), ids_(tokens.size()) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].empty()) ids_.Insert(tokens[i], static_cast<int32_t>(i));
  }
}

Merge MergeReader::Resolve(std::string_view left, std::string_view right) {
  joined_.assign(left).append(right.substr(std::min(right.size(), prefix_bytes_)));
  if (left.empty() || right.empty()) Fail("'" + joined_ + "' merges with nothing");
  return {Id(left), Id(right), Id(joined_)};
}

Merge MergeReader::ResolveLine(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    Fail("'" + std::string(line) + "' is not two tokens");
  }
  return Resolve(line.substr(0, space), line.substr(space + 1));
}

void MergeReader::Fail(const std::string& problem) const {
  throw Error({.function = "LoadTokenizer", .problem = problem, .file = file_, .field = "merges"});
}

int32_t MergeReader::Id(std::string_view token) const {
  const int32_t id = ids_.Find(token);
  if (id < 0) Fail("'" + std::string(token) + "' is not in the vocabulary");
  return id;
}

std::vector<Merge> MergesFromScores(const TokenModel& model) {
  TextToId ids(model.tokens.size());
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    if (model.types[i] == TokenType::kNormal && !model.tokens[i].empty()) {
      ids.Insert(model.tokens[i], static_cast<int32_t>(i));
    }
  }
  std::vector<Merge> merges;
  for (size_t i = 0; i < model.tokens.size(); ++i) {
    if (model.types[i] != TokenType::kNormal) continue;
    const std::string_view token = model.tokens[i];
    for (size_t cut = 0; cut < token.size();) {
      cut += static_cast<size_t>(Utf8Length(token[cut]));
      if (cut >= token.size()) break;
      const Merge merge{ids.Find(token.substr(0, cut)), ids.Find(token.substr(cut)),
                        static_cast<int32_t>(i)};
      if (merge.left >= 0 && merge.right >= 0) merges.push_back(merge);
    }
  }
  const auto key = [&model](const Merge& merge) {
    const auto result = static_cast<size_t>(merge.result);
    const auto left = static_cast<size_t>(merge.left);
    return std::tuple(-model.scores[result], merge.result,
                      -static_cast<int64_t>(model.tokens[left].size()));
  };
  std::sort(merges.begin(), merges.end(),
            [&key](const Merge& a, const Merge& b) { return key(a) < key(b); });
  return merges;
}

std::vector<float> ScoresFromMerges(const TokenModel& model) {
  const auto worst = -static_cast<float>(model.merges.size()) - 1;
  std::vector<float> scores(model.tokens.size(), worst);
  for (size_t i = model.merges.size(); i-- > 0;) {
    scores[static_cast<size_t>(model.merges[i].result)] = -static_cast<float>(i);
  }
  return scores;
}

}  // namespace rondo
