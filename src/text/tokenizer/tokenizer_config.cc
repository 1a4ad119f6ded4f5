#include "text/tokenizer/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/file.h"
#include "text/jinja/json_values.h"
#include "text/tokenizer/gguf_pre.h"
#include "text/tokenizer/tokenizer_json_parts.h"

namespace rondo {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::json;

class ConfigReader {
 public:
  ConfigReader(const std::string& directory, bool has_frame, TokenizerSpec& spec)
      : directory_(directory), has_frame_(has_frame), spec_(spec) {
    const auto& tokens = spec.model.tokens;
    for (size_t i = 0; i < tokens.size(); ++i) ids_.emplace(tokens[i], static_cast<int32_t>(i));
    for (size_t i = 0; i < spec.added.size(); ++i) added_.emplace(spec.added[i].content, i);
    for (const AddedToken& token : spec.added) ids_[token.content] = token.id;
  }

  void Run() {
    const Json config = ReadIfPresent("tokenizer_config.json");
    const Json map = ReadIfPresent("special_tokens_map.json");
    file_ = File("tokenizer_config.json");
    const bool lists_added = ReadAddedTokens(config);
    if (!lists_added) ReadAddedFile(config, map);
    // The map is older; a list of added tokens in the configuration replaces it.
    const auto set = [&](const char* name, int32_t& id) {
      SetSpecial(name, lists_added ? config : map, lists_added ? map : config, id);
    };
    set("bos_token", spec_.bos);
    set("unk_token", spec_.unknown);
    set("pad_token", spec_.pad);
    int32_t eos = spec_.eos.empty() ? -1 : spec_.eos[0];
    set("eos_token", eos);
    if (eos >= 0) spec_.eos = {eos};
    for (const Json* json : {&config, &map}) ReadExtraSpecial(*json);
    if (!has_frame_) UseMetaspaces(config);
    ReadFrame(config, eos);
    const Json generation = ReadIfPresent("generation_config.json");
    ReadEosIds(generation.is_null() ? ReadIfPresent("config.json") : generation);
    ReadTemplate(config);
  }

 private:
  std::string File(const char* name) const { return (fs::path(directory_) / name).string(); }

  Json ReadIfPresent(const char* name) const {
    const std::string file = File(name);
    if (!IsRegularFile(file)) return nullptr;
    Json json = ReadJsonFile(file);
    JsonObject(json, "LoadTokenizer", file);  // refuses anything but an object
    return json;
  }

  // Flags in tokenizer_config.json win over those in tokenizer.json; new tokens are added. False if
  // there is no such list.
  bool ReadAddedTokens(const Json& config) {
    if (!config.is_object()) return false;
    JsonObject object(config, "LoadTokenizer", file_);
    const Json* list = object.Find("added_tokens_decoder");
    if (list == nullptr) return false;
    JsonObject decoder(*list, "LoadTokenizer", file_, "added_tokens_decoder");
    for (const auto& [key, value] : list->items()) {
      AddedToken token = ReadAddedToken(value, "added_tokens_decoder." + key, file_);
      const char* end = key.data() + key.size();
      const auto parsed = std::from_chars(key.data(), end, token.id);
      if (parsed.ec != std::errc() || parsed.ptr != end) {
        decoder.Fail(key, "bad key", "a token id");
      }
      const int32_t known = FindId(token.content);
      if (known >= 0) token.id = known;
      AddToken(std::move(token));
    }
    return true;
  }

  // added_tokens.json: {"<|im_start|>": 32000, …}. Tokens that have a name (pad_token, …) are
  // special.
  void ReadAddedFile(const Json& config, const Json& map) {
    const Json added = ReadIfPresent("added_tokens.json");
    if (!added.is_object()) return;
    const std::string file = File("added_tokens.json");
    const std::set<std::string> named = NamedTokens(config, map);
    std::map<int32_t, std::string> by_id;
    for (const auto& [content, value] : added.items()) {
      const auto id = JsonId(value);
      if (!id)
        JsonObject(added, "LoadTokenizer", file).Fail(content, JsonExcerpt(value), "a token id");
      if (added_.contains(content)) continue;  // tokenizer.json knows more about it
      const int32_t known = FindId(content);
      by_id.emplace(known >= 0 ? known : *id, content);
    }
    for (auto& [id, content] : by_id) {
      AddedToken token{.content = content, .id = id, .special = named.contains(content)};
      token.normalized = !token.special;
      AddToken(std::move(token));
    }
  }

  static std::set<std::string> NamedTokens(const Json& config, const Json& map) {
    std::set<std::string> named;
    const auto add = [&named](const Json& token) {
      if (token.is_string()) named.insert(token.get<std::string>());
      if (token.is_object() && token.contains("content") && token["content"].is_string()) {
        named.insert(token["content"].get<std::string>());
      }
    };
    for (const Json* json : {&config, &map}) {
      if (!json->is_object()) continue;
      for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                              "cls_token", "mask_token"}) {
        if (json->contains(key)) add((*json)[key]);
      }
      for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
        if (!json->contains(key)) continue;
        for (const Json& token : (*json)[key]) add(token);
      }
    }
    return named;
  }

  // Tokens behind the pieces of a SentencePiece model are Hugging Face's addition, and so is what
  // text between them looks like: words get their metaspace there, once.
  void UseMetaspaces(const Json& config) {
    const auto behind = [this](const AddedToken& token) {
      return static_cast<size_t>(token.id) >= spec_.model.tokens.size();
    };
    const NormalizerStep prefix = PrependText{kMetaspace};
    const bool has_prefix = std::ranges::find(spec_.normalizers, prefix) != spec_.normalizers.end();
    if (!spec_.model.UsesScores() || !has_prefix || std::ranges::none_of(spec_.added, behind))
      return;
    bool add_prefix = true;
    bool legacy = false;
    if (config.is_object()) {
      JsonObject object(config, "LoadTokenizer", file_);
      add_prefix = object.Bool("add_prefix_space", true);
      legacy = object.Bool("legacy", false);
    }
    MetaspaceWords words{.split = false};
    words.prepend = !add_prefix ? MetaspaceWords::kNever
                    : legacy    ? MetaspaceWords::kAlways
                                : MetaspaceWords::kFirst;
    spec_.normalizers.clear();
    spec_.pre_tokenizers = {words};
    if (!add_prefix && std::holds_alternative<DecodeStrip>(spec_.decoders.back())) {
      spec_.decoders.pop_back();
    }
  }

  void AddToken(AddedToken token) {
    const auto [place, is_new] = added_.emplace(token.content, spec_.added.size());
    if (is_new) {
      ids_[token.content] = token.id;
      spec_.added.push_back(std::move(token));
    } else {
      spec_.added[place->second] = std::move(token);
    }
  }

  int32_t FindId(const std::string& content) const {
    const auto found = ids_.find(content);
    return found == ids_.end() ? -1 : found->second;
  }

  // Id of a named token, which becomes a special added token if it was none. A token that the
  // vocabulary lacks is as good as not named: the model has no row for it.
  int32_t UseSpecial(const Json& value) {
    AddedToken token;
    if (value.is_string()) {
      token.content = value.get<std::string>();
      token.special = true;
    } else if (value.is_object()) {
      token = ReadAddedToken(value, "special token", file_);
      token.special = true;
    }
    if (token.content.empty()) return -1;
    token.id = FindId(token.content);
    const int32_t id = token.id;
    if (id >= 0 && !added_.contains(token.content)) AddToken(std::move(token));
    return id;
  }

  void SetSpecial(const char* name, const Json& config, const Json& map, int32_t& id) {
    for (const Json* json : {&config, &map}) {
      if (!json->is_object() || !json->contains(name) || (*json)[name].is_null()) continue;
      id = UseSpecial((*json)[name]);
      return;
    }
  }

  void ReadExtraSpecial(const Json& config) {
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      if (!config.is_object() || !config.contains(key)) continue;
      for (const Json& token : config[key]) UseSpecial(token);
    }
  }

  // The flags count for vocabularies without a post-processor; that of tokenizer.json decides
  // alone.
  void ReadFrame(const Json& config, int32_t eos) {
    if (!config.is_object() || has_frame_) return;
    JsonObject object(config, "LoadTokenizer", file_);
    if (object.Find("add_bos_token") == nullptr && object.Find("add_eos_token") == nullptr) return;
    spec_.prefix.clear();
    spec_.suffix.clear();
    if (object.Bool("add_bos_token", false) && spec_.bos >= 0) spec_.prefix = {spec_.bos};
    if (object.Bool("add_eos_token", false) && eos >= 0) spec_.suffix = {eos};
  }

  void AddEos(int32_t id) {
    if (std::find(spec_.eos.begin(), spec_.eos.end(), id) == spec_.eos.end()) {
      spec_.eos.push_back(id);
    }
  }

  bool IsId(int32_t id) const {
    const auto is_id = [id](const AddedToken& token) { return token.id == id; };
    return static_cast<size_t>(id) < spec_.model.tokens.size() ||
           std::any_of(spec_.added.begin(), spec_.added.end(), is_id);
  }

  void ReadEosIds(const Json& config) {
    if (!config.is_object() || !config.contains("eos_token_id")) return;
    const Json& value = config["eos_token_id"];
    for (const Json& element : value.is_array() ? value : Json::array({value})) {
      const auto id = JsonId(element);
      if (id && IsId(*id)) AddEos(*id);
    }
  }

  // Templates by name in files of their own.
  void ReadTemplateFolder() {
    std::error_code ignored;
    for (const auto& entry :
         fs::directory_iterator(fs::path(directory_) / "additional_chat_templates", ignored)) {
      if (entry.path().extension() == ".jinja") {
        spec_.other_templates.push_back(entry.path().stem().string());
      }
    }
    std::ranges::sort(spec_.other_templates);
  }

  void ReadTemplate(const Json& config) {
    constexpr uint64_t kMaxTemplate = 1 << 20;
    ReadTemplateFolder();
    if (const std::string file = File("chat_template.jinja"); IsRegularFile(file)) {
      spec_.chat_template = ReadTextFile(file, kMaxTemplate);
      return;
    }
    if (!config.is_object() || !config.contains("chat_template")) return;
    const Json& value = config["chat_template"];
    if (value.is_string()) spec_.chat_template = value.get<std::string>();
    if (!value.is_array()) return;
    for (const Json& named : value) {  // several templates by name
      JsonObject object(named, "LoadTokenizer", file_, "chat_template");
      const std::string name = object.String("name");
      if (name == "default") {
        spec_.chat_template = object.String("template");
      } else {
        spec_.other_templates.push_back(name);
      }
    }
  }

  const std::string& directory_;
  bool has_frame_;
  TokenizerSpec& spec_;
  std::string file_;
  std::unordered_map<std::string, int32_t> ids_;   // by content, added tokens included
  std::unordered_map<std::string, size_t> added_;  // content -> index in spec_.added
};

}  // namespace

void ReadTokenizerConfig(const std::string& directory, bool has_frame, TokenizerSpec& spec) {
  ConfigReader(directory, has_frame, spec).Run();
}

void ChooseWords(const std::string& directory, TokenizerSpec& spec) {
  const std::string file = (fs::path(directory) / "tokenizer_config.json").string();
  std::string name;
  bool add_prefix_space = false;
  if (IsRegularFile(file)) {
    const Json config = ReadJsonFile(file);
    JsonObject object(config, "LoadTokenizer", file);
    name = object.String("tokenizer_class", "");
    add_prefix_space = object.Bool("add_prefix_space", false);
  }
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  static const std::map<std::string, const char*> kClasses = {
      {"Qwen2Tokenizer", "qwen2"},   {"GPT2Tokenizer", "gpt-2"},    {"GPTNeoXTokenizer", "olmo"},
      {"WhisperTokenizer", "gpt-2"}, {"CodeGenTokenizer", "gpt-2"}, {"RobertaTokenizer", "gpt-2"},
      {"BartTokenizer", "gpt-2"}};
  const auto known = kClasses.find(name);
  if (known != kClasses.end()) {
    ApplyGgufPre(*FindGgufPre(known->second), spec);
  } else {
    ApplyGgufPre(ChooseGgufPre("", name.empty() ? "gpt2" : "", spec), spec);
  }
  auto& bytes = std::get<ByteLevelWords>(spec.pre_tokenizers.back());
  bytes.add_prefix_space = add_prefix_space;
}

std::string WriteTokenizerConfig(const TokenizerSpec& spec) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false}};
  const auto set = [&](const char* key, int32_t id) {
    if (id >= 0) config[key] = TokenName(spec, id);
  };
  set("bos_token", spec.bos);
  if (!spec.eos.empty()) set("eos_token", spec.eos[0]);
  set("unk_token", spec.unknown);
  set("pad_token", spec.pad);
  Json decoder = Json::object();
  for (const AddedToken& token : spec.added) {
    Json entry = AddedTokenJson(token);
    entry.erase("id");
    decoder[std::to_string(token.id)] = std::move(entry);
  }
  if (!decoder.empty()) config["added_tokens_decoder"] = std::move(decoder);
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config.dump(2);
}

std::string WriteGenerationConfig(const TokenizerSpec& spec) {
  Json config = {{"eos_token_id", spec.eos}};
  if (spec.bos >= 0) config["bos_token_id"] = spec.bos;
  if (spec.pad >= 0) config["pad_token_id"] = spec.pad;
  return config.dump(2);
}

}  // namespace rondo
