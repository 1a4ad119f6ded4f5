// What the fuzzers share: their input as a file, and the one way that a parser may refuse it.
//
// A fuzzer is one file, NAME_fuzz.cc, with one function: LLVMFuzzerTestOneInput reads the bytes as
// a user's file would be read, and uses the result. It may throw rondo::Error, through Refusable()
// alone; any other exception, a sanitizer's report, a hang or a gigabyte of memory is a finding.
// Seeds lie in fuzz/corpus/NAME, words for the mutator in fuzz/NAME.dict. scripts/fuzz.sh runs all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/error.h"

namespace rondo::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A file in memory with these bytes, for parsers that take a path. One at a time.
std::string InputFile(std::string_view bytes);

// A directory of this process. Files are replaced; those of an earlier input stay.
std::string InputDirectory();
std::string WriteInput(const std::string& name, std::string_view bytes);

// Inputs that stand for several files hold them one after another, with kSeparator between.
inline constexpr std::string_view kSeparator = "\n%%%%\n";
// Exactly `count` parts; those that are missing are empty.
std::vector<std::string_view> Parts(std::string_view input, size_t count);

// Prints the error where RONDO_FUZZ_SAY is set, to see what a single input comes to.
void Refused(const Error& error);

// Whether `work` was done; false if it threw rondo::Error.
template <typename Work>
bool Refusable(const Work& work) {
  try {
    work();
    return true;
  } catch (const Error& error) {
    Refused(error);
    return false;
  }
}

// A finding of its own: what must hold does not.
void Require(bool holds, const char* what);

}  // namespace rondo::fuzz
