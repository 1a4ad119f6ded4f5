#include "text/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "rondo/error.h"
#include "text/tokenizer/byte_level.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Removes up to `start` leading and `stop` trailing copies of the step's character.
std::string_view StripToken(const DecodeStrip& step, std::string_view token) {
  for (int i = 0; i < step.start && token.starts_with(step.content); ++i) {
    token.remove_prefix(step.content.size());
  }
  for (int i = 0; i < step.stop && token.ends_with(step.content); ++i) {
    token.remove_suffix(step.content.size());
  }
  return token;
}

std::string WordPieceText(const DecodeWordPiece& step, std::string_view token, bool first) {
  std::string text;
  if (!first && token.starts_with(step.prefix)) {
    text = token.substr(step.prefix.size());
  } else {
    text = (first ? "" : " ") + std::string(token);
  }
  if (!step.cleanup) return text;
  constexpr std::pair<std::string_view, std::string_view> kCleanups[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kCleanups) text = ReplaceAll(text, from, to);
  return text;
}

}  // namespace

DecoderChain::DecoderChain(const std::vector<DecoderStep>& steps, const std::string& file)
    : join_with_spaces_(steps.empty()) {
  bool fused = false;
  bool stripped = false;
  const auto refuse = [&](const char* what) {
    throw Error({.function = "DecoderChain",
                 .problem = std::string(what) + " in this place is not supported",
                 .file = file,
                 .field = "decoder"});
  };
  for (const DecoderStep& step : steps) {
    if (std::holds_alternative<DecodeFuse>(step)) {
      fused = true;
    } else if (const auto* strip = std::get_if<DecodeStrip>(&step); strip && fused) {
      if (stripped) refuse("a second Strip after Fuse");
      stripped = true;
      fused_strip_ = *strip;
    } else if (fused) {
      refuse("a decoder other than Strip after Fuse or ByteLevel");
    } else if (std::holds_alternative<DecodeByteLevel>(step)) {
      byte_level_ = fused = true;
    } else if (strip) {
      token_steps_.emplace_back(*strip);
    } else if (const auto* replace = std::get_if<ReplaceText>(&step)) {
      token_steps_.emplace_back(std::in_place_type<Replacer>, *replace, file, "decoder");
    } else if (const auto* pieces = std::get_if<DecodeWordPiece>(&step)) {
      if (!token_steps_.empty()) refuse("WordPiece");
      token_steps_.emplace_back(*pieces);
    } else if (const auto* ends = std::get_if<DecodeWordEnds>(&step)) {
      if (!token_steps_.empty()) refuse("BPEDecoder");
      token_steps_.emplace_back(*ends);
    } else if (const auto* metaspace = std::get_if<DecodeMetaspace>(&step)) {
      if (!token_steps_.empty()) refuse("Metaspace");
      token_steps_.emplace_back(*metaspace);
    } else {
      const auto is_bytes = [](const TokenStep& s) { return std::holds_alternative<BytesStep>(s); };
      if (std::any_of(token_steps_.begin(), token_steps_.end(), is_bytes)) {
        refuse("a second ByteFallback");
      }
      token_steps_.emplace_back(BytesStep{});
    }
  }
}

void DecoderChain::Run::Push(std::string_view token, std::string& out) {
  if (chain_.join_with_spaces_) {
    if (!first_) out += ' ';
    out += token;
  } else {
    Step(0, token, out);
  }
  first_ = false;
}

void DecoderChain::Run::Flush(std::string& out) {
  for (size_t i = 0; i < chain_.token_steps_.size(); ++i) {
    if (const auto* ends = std::get_if<DecodeWordEnds>(&chain_.token_steps_[i]);
        ends && has_last_) {
      has_last_ = false;
      Step(i + 1, ReplaceAll(std::exchange(last_, {}), ends->suffix, ""), out);
    }
    if (std::holds_alternative<BytesStep>(chain_.token_steps_[i])) FlushBytes(i, out);
  }
  if (!incomplete_.empty()) Strip(kReplacement, out);
  incomplete_.clear();
}

void DecoderChain::Run::Step(size_t index, std::string_view token, std::string& out) {
  if (index == chain_.token_steps_.size()) {
    if (chain_.byte_level_) {
      AppendBytes(token, out);
    } else {
      Strip(token, out);
    }
    return;
  }
  const TokenStep& step = chain_.token_steps_[index];
  if (const auto* replacer = std::get_if<Replacer>(&step)) {
    Step(index + 1, replacer->Apply(token), out);
  } else if (const auto* strip = std::get_if<DecodeStrip>(&step)) {
    Step(index + 1, StripToken(*strip, token), out);
  } else if (const auto* metaspace = std::get_if<DecodeMetaspace>(&step)) {
    const bool drop = first_ && metaspace->strip_first;
    Step(index + 1, ReplaceAll(token, kMetaspace, drop ? "" : " "), out);
  } else if (const auto* pieces = std::get_if<DecodeWordPiece>(&step)) {
    Step(index + 1, WordPieceText(*pieces, token, first_), out);
  } else if (std::holds_alternative<DecodeWordEnds>(step)) {
    WordEnds(index, token, out);
  } else if (const auto byte = ParseByteToken(token)) {
    bytes_ += static_cast<char>(*byte);
  } else {
    FlushBytes(index, out);
    Step(index + 1, token, out);
  }
}

// A suffix becomes a space, but nothing at the end of the text: the newest token waits for the
// next.
void DecoderChain::Run::WordEnds(size_t index, std::string_view token, std::string& out) {
  const std::string& suffix = std::get<DecodeWordEnds>(chain_.token_steps_[index]).suffix;
  if (has_last_) Step(index + 1, ReplaceAll(last_, suffix, " "), out);
  last_ = token;
  has_last_ = true;
}

// A run of byte tokens is one text if it is UTF-8 as a whole, and otherwise U+FFFD for every byte.
void DecoderChain::Run::FlushBytes(size_t index, std::string& out) {
  if (bytes_.empty()) return;
  const std::string bytes = std::exchange(bytes_, {});
  if (IsValidUtf8(bytes)) {
    Step(index + 1, bytes, out);
  } else {
    for (size_t i = 0; i < bytes.size(); ++i) Step(index + 1, kReplacement, out);
  }
}

void DecoderChain::Run::AppendBytes(std::string_view token, std::string& out) {
  const auto raw = FromByteLevel(token);
  incomplete_.append(raw ? *raw : token);
  size_t done = 0;
  std::string text;
  while (done < incomplete_.size()) {
    const Utf8Step step = NextUtf8(incomplete_, done);
    if (step.incomplete) break;
    text.append(step.valid ? std::string_view(incomplete_).substr(done, step.length)
                           : kReplacement);
    done += step.length;
  }
  incomplete_.erase(0, done);
  Strip(text, out);
}

void DecoderChain::Run::Strip(std::string_view text, std::string& out) {
  const DecodeStrip& strip = chain_.fused_strip_;
  while (at_start_ && stripped_ < strip.start && text.starts_with(strip.content)) {
    text.remove_prefix(strip.content.size());
    ++stripped_;
  }
  if (text.empty()) return;
  at_start_ = false;
  if (strip.stop == 0) {
    out += text;
    return;
  }
  std::string whole;
  for (int i = 0; i < held_; ++i) whole += strip.content;
  whole += text;
  std::string_view rest = whole;
  for (held_ = 0; held_ < strip.stop && rest.ends_with(strip.content); ++held_) {
    rest.remove_suffix(strip.content.size());
  }
  out += rest;
}

}  // namespace rondo
