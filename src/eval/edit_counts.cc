#include <algorithm>
#include <vector>

#include "eval/text_metrics.h"
#include "eval/text_pieces.h"

namespace rondo {
namespace {

// Cells of the distance table hold counts whose errors are fewest.
template <typename T>
EditCounts FewestEdits(const std::vector<T>& reference, const std::vector<T>& hypothesis) {
  std::vector<EditCounts> row(hypothesis.size() + 1), next(row.size());
  for (size_t j = 0; j <= hypothesis.size(); ++j) row[j].insertions = static_cast<int64_t>(j);
  for (size_t i = 1; i <= reference.size(); ++i) {
    next[0] = {};
    next[0].deletions = static_cast<int64_t>(i);
    for (size_t j = 1; j <= hypothesis.size(); ++j) {
      EditCounts best = row[j - 1];
      ++(reference[i - 1] == hypothesis[j - 1] ? best.hits : best.substitutions);
      EditCounts deleted = row[j], inserted = next[j - 1];
      ++deleted.deletions;
      ++inserted.insertions;
      for (const EditCounts& other : {deleted, inserted}) {
        if (other.Errors() < best.Errors()) best = other;
      }
      next[j] = best;
    }
    std::swap(row, next);
  }
  return row.back();
}

}  // namespace

double EditCounts::Rate() const {
  if (Reference() == 0) return static_cast<double>(Errors());
  return static_cast<double>(Errors()) / static_cast<double>(Reference());
}

EditCounts& EditCounts::operator+=(const EditCounts& other) {
  hits += other.hits;
  substitutions += other.substitutions;
  deletions += other.deletions;
  insertions += other.insertions;
  return *this;
}

EditCounts WordEdits(std::string_view reference, std::string_view hypothesis) {
  return FewestEdits(WordsForErrorRate(reference), WordsForErrorRate(hypothesis));
}

EditCounts CharacterEdits(std::string_view reference, std::string_view hypothesis) {
  return FewestEdits(CharactersOfText(Stripped(reference)), CharactersOfText(Stripped(hypothesis)));
}

}  // namespace rondo
