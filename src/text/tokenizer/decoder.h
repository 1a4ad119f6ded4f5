// Tokens to text: the decoder chain of a tokenizer, one token at a time.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/tokenizer_spec.h"

namespace rondo {

// The steps, checked for an order that can run token by token.
class DecoderChain {
 public:
  // Throws for a step that would have to see the whole text at once.
  DecoderChain(const std::vector<DecoderStep>& steps, const std::string& file);

  // One text being decoded. Output is certain: what later tokens could still change is held back.
  class Run {
   public:
    explicit Run(const DecoderChain& chain) : chain_(chain) {}
    void Push(std::string_view token, std::string& out);
    void Flush(std::string& out);

   private:
    void Step(size_t index, std::string_view token, std::string& out);
    void FlushBytes(size_t index, std::string& out);
    void AppendBytes(std::string_view token, std::string& out);
    void Strip(std::string_view text, std::string& out);

    const DecoderChain& chain_;
    void WordEnds(size_t index, std::string_view token, std::string& out);

    bool first_ = true;
    bool has_last_ = false;
    std::string last_;        // DecodeWordEnds: the newest token, which may end the text
    std::string bytes_;       // <0xNN> tokens since the last other token
    std::string incomplete_;  // begin of a UTF-8 character (byte level)
    bool at_start_ = true;    // fused strip: nothing but stripped characters came so far
    int stripped_ = 0;
    int held_ = 0;  // fused strip: characters at the end that may have to go
  };

 private:
  struct BytesStep {};
  using TokenStep = std::variant<Replacer, BytesStep, DecodeStrip, DecodeMetaspace, DecodeWordPiece,
                                 DecodeWordEnds>;

  std::vector<TokenStep> token_steps_;
  bool join_with_spaces_ = false;
  bool byte_level_ = false;
  DecodeStrip fused_strip_;  // of the whole text
};

}  // namespace rondo
