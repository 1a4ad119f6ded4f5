#include <algorithm>
#include <filesystem>
#include <mutex>
#include <utility>

#include "audio/tar.h"
#include "base/file.h"
#include "base/strings.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr std::string_view kTarMember = ".tar:";
// 24 hours at 16 kHz; more is a file that unpacks to far more than it holds.
constexpr size_t kMaxSamples = size_t{24} * 3600 * 16000;

}  // namespace

struct AudioStore::Archives {
  std::shared_ptr<const TarIndex> Get(const std::string& path) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<const TarIndex>& archive = by_path[path];
    if (archive == nullptr) archive = TarIndex::Open(path);
    return archive;
  }

  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const TarIndex>> by_path;
};

AudioStore::AudioStore() : archives_(std::make_unique<Archives>()) {}
AudioStore::~AudioStore() = default;

std::unique_ptr<AudioSource> AudioStore::Open(const std::string& audio, int sample_rate) {
  const size_t colon = audio.find(kTarMember);
  if (colon == std::string::npos) {
    if (IsDirectory(audio)) {
      throw Error(
          {.function = "AudioStore",
           .problem = "a directory",
           .expected = "sound files, as " + (std::filesystem::path(audio) / "*.wav").string(),
           .file = audio});
    }
    const std::shared_ptr<const MappedFile> file = MappedFile::Open(audio);
    return DecodeAudio(file->bytes(), file, audio, sample_rate);
  }
  const size_t member = colon + kTarMember.size();
  const std::shared_ptr<const TarIndex> archive = archives_->Get(audio.substr(0, member - 1));
  return DecodeAudio(archive->Get(audio.substr(member)), archive, audio, sample_rate);
}

AudioClip AudioStore::Read(const std::string& audio, int sample_rate) {
  const std::unique_ptr<AudioSource> source = Open(audio, sample_rate);
  AudioClip clip{.sample_rate = source->sample_rate(), .samples = {}};
  std::vector<float> block(16384);
  while (const size_t count = source->Read(block)) {
    clip.samples.insert(clip.samples.end(), block.begin(),
                        block.begin() + static_cast<ptrdiff_t>(count));
    if (clip.samples.size() <= kMaxSamples) continue;
    throw Error({.function = "AudioStore",
                 .problem = "more than " + WithThousands(kMaxSamples) + " samples",
                 .expected = "a clip that fits in memory",
                 .file = audio});
  }
  return clip;
}

std::vector<std::string> AudioStore::Members(const std::string& archive) {
  std::vector<std::string> names;
  const std::shared_ptr<const TarIndex> index = archives_->Get(archive);
  for (const auto& [member, bytes] : index->members()) names.push_back(member);
  return names;
}

}  // namespace rondo
