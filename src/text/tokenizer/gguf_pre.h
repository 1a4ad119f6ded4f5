// The names that GGUF files have for pre-tokenizers of byte-level BPE vocabularies
// (tokenizer.ggml.pre), and the tokenizer.json components that they stand for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

struct GgufPre {
  std::vector<std::string_view> names;  // the first one is written
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  bool ignore_merges = false;
  bool add_bos = false;  // when the file does not say
  // What gives such a vocabulary away: all tokens of `marks`, or an architecture.
  std::vector<std::string_view> marks = {};
  std::vector<std::string_view> architectures = {};
};

std::span<const GgufPre> GgufPres();
// nullptr: unknown.
const GgufPre* FindGgufPre(std::string_view name);
std::string KnownGgufPres();  // for messages

// The pre-tokenizer of a vocabulary whose file says `named` ("": nothing): the named one, else what
// SetPreTokenizer() gave, else the one that special tokens, architecture and vocabulary tell, with
// a note. Throws naming an unknown name. Needs spec's tokens and merges.
const GgufPre& ChooseGgufPre(const std::string& named, const std::string& architecture,
                             const TokenizerSpec& spec);
// Sets normalizer, pre-tokenizer and ignore_merges.
void ApplyGgufPre(const GgufPre& pre, TokenizerSpec& spec);
// The name for the spec's components; throws if GGUF has none.
std::string GgufPreName(const TokenizerSpec& spec);

}  // namespace rondo
