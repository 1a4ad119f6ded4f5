// The members of a tar archive, read in place: POSIX ustar and pax, and GNU's long names.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"

namespace rondo {

class TarIndex {
 public:
  // Maps the archive and reads its headers. Throws rondo::Error naming file and member for anything
  // that is no tar, cut short or of a compressed or sparse kind.
  static std::shared_ptr<const TarIndex> Open(const std::string& path);

  // Regular files by name; bytes live as long as the index.
  const std::map<std::string, std::span<const std::byte>, std::less<>>& members() const {
    return members_;
  }
  // Throws naming the nearest member.
  std::span<const std::byte> Get(std::string_view member) const;

 private:
  explicit TarIndex(std::shared_ptr<const MappedFile> file);
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, std::span<const std::byte>, std::less<>> members_;
};

}  // namespace rondo
