// Writes all gradients of one batch, for comparison with other programs.
//
//   rondo_gradients MODEL TEACHER OUT.safetensors ROWS CE KD DIVERGENCE TEMPERATURE < ids
//
// Reads ROWS rows of token ids of equal length from standard input; every token but the first of a
// row is predicted. TEACHER may be "-". DIVERGENCE is a number, as in KdKind. Prints the losses.
#include <cstdio>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/safetensors.h"
#include "rondo/error.h"
#include "train/model/student.h"

namespace rondo {
namespace {

void Run(char** arguments) {
  const Model model = LoadModel(arguments[1]);
  const std::string teacher_path = arguments[2];
  TokenBatch batch{.rows = std::stoi(arguments[4])};
  for (int32_t id; std::cin >> id;) batch.tokens.push_back(id);
  batch.length = static_cast<int>(batch.tokens.size()) / batch.rows - 1;
  batch.document.assign(batch.tokens.size(), 0);
  LossOptions loss;
  loss.vocab.ce = std::stof(arguments[5]);
  loss.vocab.kd = std::stof(arguments[6]);
  loss.vocab.kind = static_cast<KdKind>(std::stoi(arguments[7]));
  loss.vocab.temperature = std::stof(arguments[8]);

  const TrainGroup all[] = {{"*"}};
  Params params(model, all);
  Student student(params, model.config, model.plan, batch.length, ComputeType::kF32,
                  Recompute::kNone, nullptr);
  std::optional<Teacher> teacher;
  if (teacher_path != "-") teacher.emplace(LoadModel(teacher_path), batch.length);
  const StepValue value = student.AddGradients(batch, teacher ? &*teacher : nullptr, loss, 1);
  std::printf("{\"ce\": %.9g, \"kd\": %.9g}\n", value.ce, value.kd);
  std::vector<std::pair<std::string, Tensor>> gradients;
  for (const Param* param : params.List()) {
    gradients.emplace_back(param->name, FromTorch(param->value.grad()));
  }
  WriteSafetensors(arguments[3], gradients);
}

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  try {
    if (argc != 9) throw rondo::Error({.problem = "eight arguments wanted"});
    rondo::Run(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo_gradients: %s\n", error.what());
    return 1;
  }
}
