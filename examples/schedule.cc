// Continues many prompts at once with one model; tokens of which the model is sure leave its loops
// early.
//
//   example_schedule FOLDED_MODEL PROMPT…
//
// The scheduler runs the texts as one batch, tokens at different loops side by side.
#include <cstdint>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <utility>

#include "rondo/engine.h"
#include "rondo/model.h"
#include "rondo/scheduler.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace {

double MeanLoops(const rondo::Generation& text) {
  double sum = 0;
  for (const uint8_t loops : text.loops) sum += loops;
  return text.loops.empty() ? 0 : sum / static_cast<double>(text.loops.size());
}

void Run(const std::string& path, std::span<char*> prompts) {
  rondo::ThreadPool pool;
  const rondo::Model model = rondo::LoadModel(path);
  const auto tokenizer = rondo::LoadTokenizer(path);
  const rondo::Engine engine(model, {}, pool);

  rondo::GenerateOptions options;
  options.max_new_tokens = 32;
  options.exit.rule = rondo::ExitRule::kConfidence;
  options.exit.threshold = 0.5f;  // probability of the most likely token

  rondo::Scheduler scheduler(engine, *tokenizer, {.max_sequences = 8});
  for (const std::string prompt : prompts) {
    rondo::Request request;
    request.prompt = tokenizer->Encode(prompt);
    request.options = options;
    request.on_done = [prompt](const rondo::Generation& text) {
      std::cout << prompt << text.text << "\n  (" << MeanLoops(text) << " loops a token)\n";
    };
    scheduler.Submit(std::move(request));
  }
  while (scheduler.Step()) {
  }
  const rondo::SchedulerStats stats = scheduler.stats();
  std::cout << stats.finished << " texts, " << stats.new_tokens << " tokens in " << stats.steps
            << " passes; the model has " << engine.loops().loops << " loops\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: example_schedule FOLDED_MODEL PROMPT...\n";
    return 2;
  }
  try {
    Run(argv[1], std::span(argv + 2, static_cast<size_t>(argc - 2)));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
