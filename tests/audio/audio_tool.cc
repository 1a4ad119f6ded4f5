// Drives the audio room from other languages.
//
//   audio_tool '{"op": "fbank", "audio": "a.flac", "rate": 16000, "bins": 80, "snip_edges": true,
//                "out": "values.f32"}'
//
// writes the values as raw f32 to "out" and prints {"count": …}, or {"error": message}. Operations:
// read (samples), fbank, whisper, cmvn (fbank normalised by utterance), manifest (prints its
// lines). "chunk" feeds fbank so many samples at a time.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "rondo/audio.h"
#include "rondo/audio_features.h"
#include "rondo/error.h"
#include "speech/manifest.h"

namespace rondo {
namespace {

using Json = nlohmann::json;

Features RunFbank(const Json& request, const AudioClip& clip) {
  FbankOptions options{.sample_rate = clip.sample_rate};
  options.mel_bins = request.value("bins", options.mel_bins);
  options.snip_edges = request.value("snip_edges", options.snip_edges);
  options.use_energy = request.value("use_energy", options.use_energy);
  options.raw_energy = request.value("raw_energy", options.raw_energy);
  options.remove_dc_offset = request.value("remove_dc_offset", options.remove_dc_offset);
  options.low_freq = request.value("low_freq", options.low_freq);
  options.high_freq = request.value("high_freq", options.high_freq);
  options.energy_floor = request.value("energy_floor", options.energy_floor);
  options.preemphasis = request.value("preemphasis", options.preemphasis);
  options.window = WindowKindFromName(request.value("window", "povey"));
  const Fbank fbank(options);
  const size_t chunk = request.value("chunk", size_t{0});
  if (chunk == 0) return fbank.Compute(clip.samples);
  Features features;
  FbankStream stream(fbank);
  for (size_t at = 0; at < clip.samples.size(); at += chunk) {
    const size_t count = std::min(chunk, clip.samples.size() - at);
    stream.Push(std::span(clip.samples).subspan(at, count), &features);
  }
  stream.Finish(&features);
  return features;
}

std::vector<float> Values(const Json& request) {
  AudioStore store;
  const AudioClip clip = store.Read(request.at("audio"), request.value("rate", 0));
  const std::string op = request.at("op");
  if (op == "read") return clip.samples;
  if (op == "whisper") {
    return WhisperFeatures(request.value("bins", 80)).Compute(clip.samples).values;
  }
  Features features = RunFbank(request, clip);
  if (op == "cmvn") NormalizeUtterance({}, &features);
  return features.values;
}

Json Run(const std::string& text) {
  try {
    const Json request = ParseJsonChecked(text, "request");
    if (request.at("op") == "manifest") {
      Json lines = Json::array();
      for (const Utterance& u : ReadManifest(request.at("path"), request.value("audio", ""))) {
        lines.push_back({u.id, u.audio, u.text, u.translation});
      }
      return {{"utterances", lines}};
    }
    const std::vector<float> values = Values(request);
    AtomicFile file(request.at("out"));
    file.Write(values.data(), values.size() * sizeof(float));
    file.Commit();
    return {{"count", values.size()}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: audio_tool REQUEST\n";
    return 2;
  }
  std::cout << rondo::Run(argv[1]).dump() << '\n';
  return 0;
}
