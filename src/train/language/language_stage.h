// A language model in a stage: parameters, optimiser, student, what fades and what ties itself.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "train/model/fading.h"
#include "train/model/student.h"
#include "train/run/task.h"
#include "train/tying/tying.h"

namespace rondo {

struct LanguageStage : StageRun {
  // `model` is where the stage begins, with grids of what the stage rounds; `tying` is null unless
  // layers are tied in it. `ranks` and `tying` outlive it.
  LanguageStage(Stage s, const Model& model, uint64_t seed, at::Device device, const Ranks& r,
                Tying* t);

  // Also where parameters changed their places.
  void MakeStudent(int64_t max_length, TeacherCache* cache);
  // Goes on with the present ties instead of those before: what is not used any more leaves memory.
  // The student must be made again.
  void Retie(const Ties& before);
  // Bytes of weights, gradients and what the optimiser remembers.
  int64_t TrainingBytes() const;

  ModelConfig config;
  SharingPlan plan;
  Tying* tying;
  const Ranks& ranks;
  std::optional<Fading> fading;
  std::vector<int> fade_groups;
  std::unique_ptr<Student> student;
};

}  // namespace rondo
