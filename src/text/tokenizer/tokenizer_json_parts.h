// The components of tokenizer.json around the model, from JSON and back. Every type that is not
// supported is refused by name.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "text/jinja/json_values.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

void ReadNormalizer(const nlohmann::json& part, const std::string& file,
                    std::vector<NormalizerStep>& steps);
void ReadPreTokenizer(const nlohmann::json& part, const std::string& file,
                      std::vector<PreTokenizerStep>& steps);
void ReadDecoder(const nlohmann::json& part, const std::string& file,
                 std::vector<DecoderStep>& steps);
void ReadPostProcessor(const nlohmann::json& part, TokenizerSpec& spec);
AddedToken ReadAddedToken(const nlohmann::json& part, const std::string& field,
                          const std::string& file);

nlohmann::json NormalizerJson(const TokenizerSpec& spec);
nlohmann::json PreTokenizerJson(const TokenizerSpec& spec);
nlohmann::json DecoderJson(const TokenizerSpec& spec);
// TemplateProcessing with the spec's prefix and suffix.
nlohmann::json PostProcessorJson(const TokenizerSpec& spec);
nlohmann::json AddedTokenJson(const AddedToken& token);
// Text of a token of the vocabulary or an added one.
std::string TokenName(const TokenizerSpec& spec, int32_t id);

}  // namespace rondo
