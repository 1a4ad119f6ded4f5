#include "train/speech/train_units.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <filesystem>
#include <unordered_map>

#include "base/file.h"
#include "rondo/error.h"

namespace rondo {
namespace {

class Texts : public sentencepiece::SentenceIterator {
 public:
  explicit Texts(std::span<const std::string> texts) : texts_(texts) {}
  bool done() const override { return at_ >= texts_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return texts_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::span<const std::string> texts_;
  size_t at_ = 0;
};

}  // namespace

int TrainSentencePiece(std::span<const std::string> texts, int count, const std::string& folder) {
  const auto check = [&](const sentencepiece::util::Status& status) {
    if (status.ok()) return;
    throw Error({.function = "TrainSentencePiece",
                 .problem = status.ToString(),
                 .expected = "texts from which pieces can be learned",
                 .file = folder,
                 .field = "speech.unit_count"});
  };
  // The library's own normalisation is left out: texts come as they are to be written.
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(count)},
      {"hard_vocab_limit", "false"},
      {"character_coverage", "1.0"},
      {"normalization_rule_name", "identity"},
      {"num_threads", "1"},
      {"minloglevel", "2"}};
  std::string model;
  Texts sentences(texts);
  check(sentencepiece::SentencePieceTrainer::Train(options, &sentences, &model));
  sentencepiece::SentencePieceProcessor processor;
  check(processor.LoadFromSerializedProto(model));
  MakeDirectories(folder);
  WriteTextFile(folder + "/tokenizer.model", model);
  return processor.GetPieceSize();
}

}  // namespace rondo
