// Text to token ids and back, equal to the model's own tokenizer.
//
//   auto tokenizer = LoadTokenizer("models/smollm2");     // directory, GGUF or llama2.c file
//   std::vector<int32_t> ids = tokenizer->Encode("Hello");
//   StreamDecoder stream(*tokenizer);                     // never emits half a UTF-8 character
//   for (int32_t id : ids) std::cout << stream.Push(id);
//   std::cout << stream.Flush();
//
// A Tokenizer is immutable; any number of threads may use it. A StreamDecoder belongs to one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

struct EncodeOptions {
  bool add_special = true;    // add what the model's post-processor adds (usually BOS)
  bool parse_special = true;  // "<|im_start|>" in the text becomes the special token
};

struct ChatMessage {
  std::string role = {};  // system, user, assistant
  std::string content = {};
};

// One text being decoded token by token; see StreamDecoder.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  virtual std::string Push(int32_t id) = 0;
  virtual std::string Flush() = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Invalid UTF-8 is read as U+FFFD, as Python's errors="replace" does.
  virtual std::vector<int32_t> Encode(std::string_view text,
                                      const EncodeOptions& options = {}) const = 0;
  // Equal to Hugging Face's decode(ids, skip_special_tokens, clean_up_tokenization_spaces=False).
  // Ids outside the vocabulary are passed over.
  virtual std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const = 0;
  // The stream must not outlive the tokenizer. It continues the text of the tokens `before`.
  virtual std::unique_ptr<TokenStream> StartDecode(bool skip_special,
                                                   std::span<const int32_t> before = {}) const = 0;

  virtual int32_t vocab_size() const = 0;  // largest id + 1
  virtual int32_t bos() const = 0;         // -1: none
  virtual std::vector<int32_t> eos() const = 0;
  // Id of a token by its text as the vocabulary has it, -1 if there is none.
  virtual int32_t TokenId(std::string_view token) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;

  // The prompt text of a conversation by the model's own chat template; encode it with
  // add_special = false. Throws if the model has no template, or if the template is faulty or
  // refuses the conversation.
  virtual std::string ApplyChatTemplate(std::span<const ChatMessage> messages,
                                        bool add_generation_prompt = true) const = 0;
  virtual bool HasChatTemplate() const = 0;
};

// `model_path` is a directory (tokenizer.json, else tokenizer.model, else vocab.json and
// merges.txt), a GGUF file, a llama2.c model next to its tok*.bin, or one of those tokenizer files
// itself. Throws rondo::Error naming file and field for anything unknown or malformed.
std::shared_ptr<const Tokenizer> LoadTokenizer(const std::string& model_path);

// The pre-tokenizer (in the names of tokenizer.ggml.pre: llama-bpe, qwen2, …) of vocabularies whose
// files name none that is known; "": guess it and say so on standard error. For the whole process;
// call it before anything is loaded.
void SetPreTokenizer(const std::string& name);

// Writes the tokenizer of the model at `model_path` into `directory` as files that Hugging Face
// transformers reads (tokenizer.json, tokenizer_config.json, …): copied as they came from a
// directory, synthesised from any other vocabulary. Only says so when the model has no tokenizer.
void WriteTokenizerFiles(const std::string& model_path, const std::string& directory);

// Decodes a growing sequence. All pieces together are what Decode() of `before` and all ids has
// behind the text of `before`; a vocabulary that drops the first space of a text keeps it behind
// other tokens. Each token costs time proportional to its own length.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true,
                         std::span<const int32_t> before = {})
      : stream_(tokenizer.StartDecode(skip_special, before)) {}
  // Text that is certain so far; may be empty. Byte tokens of a SentencePiece vocabulary are held
  // until another token ends their run, because one bad byte turns the whole run into U+FFFD.
  std::string Push(int32_t id) { return stream_->Push(id); }
  std::string Flush() { return stream_->Flush(); }

 private:
  std::unique_ptr<TokenStream> stream_;
};

}  // namespace rondo
