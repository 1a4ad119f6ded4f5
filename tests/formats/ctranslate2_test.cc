#include "formats/ctranslate2.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

template <typename T>
std::string Bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

std::string Text(const std::string& text) {
  return Bytes(static_cast<uint16_t>(text.size() + 1)) + text + '\0';
}

std::string Variable(const std::string& name, const std::vector<uint32_t>& shape, uint8_t type,
                     const std::string& data) {
  std::string out = Text(name) + Bytes(static_cast<uint8_t>(shape.size()));
  for (const uint32_t size : shape) out += Bytes(size);
  return out + Bytes(type) + Bytes(static_cast<uint32_t>(data.size())) + data;
}

std::string File(const std::vector<std::string>& variables) {
  std::string out = Bytes(uint32_t{6}) + Text("WhisperSpec") + Bytes(uint32_t{3}) +
                    Bytes(static_cast<uint32_t>(variables.size()));
  for (const std::string& variable : variables) out += variable;
  return out + Bytes(uint32_t{1}) + Text("head") + Text("w");
}

class CTranslate2Test : public testing::Test {
 protected:
  CTranslate2Model Read(const std::string& bytes) {
    WriteTextFile(dir_.File("model.bin"), bytes);
    return ReadCTranslate2(dir_.File("model.bin"));
  }
  void Refuses(const std::string& bytes, const char* what) {
    EXPECT_THAT([&] { Read(bytes); },
                ThrowsMessage<Error>(AllOf(HasSubstr("model.bin"), HasSubstr(what))));
  }
  const std::string weight_ = Variable("w", {2}, 0, Bytes(1.5f) + Bytes(-2.0f));
  TempDir dir_;
};

TEST_F(CTranslate2Test, GivesTensorsScalarsAndAliases) {
  const CTranslate2Model model = Read(File(
      {weight_, Variable("half", {1, 1}, 4, Bytes(uint16_t{0x3c00})),
       Variable("heads", {}, 2, Bytes(int16_t{8})), Variable("flag", {}, 1, Bytes(int8_t{-1}))}));
  EXPECT_EQ(model.specification, "WhisperSpec");
  EXPECT_THAT(ToF32(model.tensors.at("w")), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(ToF32(model.tensors.at("half")), ElementsAre(1.0f));
  EXPECT_EQ(model.tensors.at("half").dtype(), DType::kF16);
  EXPECT_EQ(model.integers.at("heads"), 8);
  EXPECT_EQ(model.integers.at("flag"), -1);
  EXPECT_EQ(model.aliases.at("head"), "w");
}

TEST_F(CTranslate2Test, RefusesWhatItCannotTrust) {
  Refuses(Bytes(uint32_t{2}), "version 2");
  Refuses(File({Variable("w", {2}, 9, Bytes(1.0))}), "w: type 9");
  Refuses(File({Variable("w", {3}, 0, Bytes(1.0))}), "w: 8 bytes for shape [3]");
  Refuses(File({Variable("w", {0xffffffff, 0xffffffff, 0xffffffff}, 0, "")}), "w");
  Refuses(File({Variable("w", {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, Bytes(1.0f))}), "9 dimensions");
  Refuses(File({Variable("linear/weight", {2}, 1, "ab")}), "quantised weights");
  Refuses(File({weight_}) + "x", "bytes behind");
}

TEST_F(CTranslate2Test, AnyCutIsAnError) {
  const std::string good = File({weight_, Variable("heads", {}, 2, Bytes(int16_t{8}))});
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THROW(Read(good.substr(0, size)), Error) << size;
  }
}

}  // namespace
}  // namespace rondo
