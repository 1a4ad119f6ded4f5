#include "base/xz.h"

#include <gtest/gtest.h>
#include <lzma.h>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

std::string Packed(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr,
                                    reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                                    reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
            LZMA_OK);
  out.resize(size);
  return out;
}

class XzTest : public testing::Test {
 protected:
  std::string Write(const std::string& bytes) {
    AtomicFile file(directory_.File("text"));
    file.Write(bytes);
    file.Commit();
    return directory_.File("text");
  }
  TempDir directory_;
};

TEST_F(XzTest, ReadsPlainAndPackedTextAlike) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += std::to_string(i * i) + "\n";
  for (const std::string& one : {text, std::string("short"), std::string()}) {
    EXPECT_EQ(ReadMaybeXz(Write(one)), one);
    EXPECT_EQ(ReadMaybeXz(Write(Packed(one))), one);
  }
  EXPECT_EQ(ReadMaybeXz(Write(Packed("one ") + Packed("two"))), "one two");
}

TEST_F(XzTest, RefusesFilesThatAreCutOrDamaged) {
  const std::string packed = Packed("some text that is long enough to be packed, packed, packed");
  for (size_t size = 6; size < packed.size(); ++size) {
    EXPECT_THROW(ReadMaybeXz(Write(packed.substr(0, size))), Error) << size;
  }
  for (size_t at = 6; at < packed.size(); ++at) {
    std::string damaged = packed;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    EXPECT_THROW(ReadMaybeXz(Write(damaged)), Error) << at;
  }
}

TEST_F(XzTest, RefusesMoreTextThanAllowed) {
  const std::string text(5000, 'a');
  EXPECT_EQ(ReadMaybeXz(Write(Packed(text)), 5000), text);
  EXPECT_THROW(ReadMaybeXz(Write(Packed(text)), 4999), Error);
  EXPECT_THROW(ReadMaybeXz(Write(text), 4999), Error);
  EXPECT_THROW(ReadMaybeXz(directory_.File("missing")), Error);
}

}  // namespace
}  // namespace rondo
