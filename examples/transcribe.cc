// Writes down speech while it is being heard.
//
//   example_transcribe MODEL AUDIO
//   arecord -f S16_LE -r 16000 -c 1 -t raw | example_transcribe MODEL -
//
// AUDIO is a file, "archive.tar:member", or "-" for raw 16-bit samples at 16 kHz on standard input.
#include "rondo/transcribe.h"

#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include "rondo/audio.h"
#include "rondo/speech_model.h"
#include "rondo/thread_pool.h"

namespace {

std::unique_ptr<rondo::AudioSource> Open(const std::string& audio, int sample_rate) {
  if (audio == "-") return rondo::OpenPipe(0, "standard input", 16000, sample_rate);
  return rondo::AudioStore().Open(audio, sample_rate);
}

void Run(const std::string& model, const std::string& audio) {
  rondo::ThreadPool pool;
  rondo::TranscribeOptions options;
  options.partial_seconds = 0.5;
  rondo::Transcriber transcriber(rondo::LoadSpeechModel(model), options, pool);
  const auto source = Open(audio, transcriber.sample_rate());

  rondo::TranscribeEvents events;
  events.partial = [](double seconds, const std::string& text) {
    std::cerr << "  after " << seconds << " s: " << text << '\n';  // may still change
  };
  events.segment = [](const rondo::Segment& segment) {
    std::cout << segment.begin << " - " << segment.end << ": " << segment.text << std::endl;
  };
  const double seconds = transcriber.Run(*source, events);
  std::cout << seconds << " seconds of audio\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: example_transcribe MODEL AUDIO\n";
    return 2;
  }
  try {
    Run(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
