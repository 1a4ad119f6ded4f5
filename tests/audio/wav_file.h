// Sound files that tests write.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

namespace rondo {

template <typename T>
std::string Bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

// A WAV file of 16-bit samples; interleaved when there are several channels.
inline std::string Wav(const std::vector<int16_t>& samples, uint32_t rate, uint16_t channels = 1) {
  const uint32_t size = static_cast<uint32_t>(samples.size() * 2);
  std::string wav =
      "RIFF" + Bytes(uint32_t{36 + size}) + "WAVEfmt " + Bytes(uint32_t{16}) + Bytes(uint16_t{1}) +
      Bytes(channels) + Bytes(rate) + Bytes(uint32_t{rate * channels * 2}) +
      Bytes(static_cast<uint16_t>(channels * 2)) + Bytes(uint16_t{16}) + "data" + Bytes(size);
  wav.append(reinterpret_cast<const char*>(samples.data()), size);
  return wav;
}

inline std::vector<float> Sine(double hertz, double rate, size_t count) {
  std::vector<float> samples(count);
  for (size_t i = 0; i < count; ++i) {
    samples[i] = static_cast<float>(
        0.5 * std::sin(2 * std::numbers::pi * hertz * static_cast<double>(i) / rate));
  }
  return samples;
}

}  // namespace rondo
