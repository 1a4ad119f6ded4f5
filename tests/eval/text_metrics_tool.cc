// Error rates, BLEU and chrF of a file of lines "reference <tab> hypothesis", as JSON.
#include <cstdio>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "eval/text_metrics.h"

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  std::vector<std::string> references, hypotheses;
  rondo::EditCounts words, characters;
  for (const std::string& line : rondo::Split(rondo::ReadTextFile(argv[1]), '\n')) {
    if (line.empty()) continue;
    const std::vector<std::string> pair = rondo::Split(line, '\t');
    references.push_back(pair.at(0));
    hypotheses.push_back(pair.at(1));
    words += rondo::WordEdits(pair[0], pair[1]);
    characters += rondo::CharacterEdits(pair[0], pair[1]);
  }
  std::printf(
      "{\"wer\": %.17g, \"cer\": %.17g, \"words\": %lld, \"bleu\": %.17g, \"chrf\": %.17g}\n",
      words.Rate(), characters.Rate(), static_cast<long long>(words.Reference()),
      rondo::Bleu(references, hypotheses), rondo::ChrF(references, hypotheses));
  return 0;
}
