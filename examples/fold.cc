// Folds a pretrained model and saves the result.
//
//   example_fold MODEL OUT [RANK]
//
// All layers but the outermost become two loops over half as many blocks. Each depth keeps its
// norms and gets a low-rank residual: what sharing took from it, as far as RANK allows.
#include "rondo/fold.h"

#include <cstdint>
#include <exception>
#include <iostream>
#include <string>

#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace {

rondo::FoldOptions TwoLoops(int layers, int rank) {
  rondo::TieOrder order;
  order.order = "middle-cycle";
  order.loops = 2;
  order.keep_first = 1;
  order.keep_last = layers % 2 == 0 ? 1 : 0;  // two loops need an even number of layers between
  rondo::FoldOptions options;
  options.order.fill(order);
  options.residual = rondo::ResidualKind::kLora;
  options.rank = rank;
  return options;
}

int64_t Parameters(const rondo::Model& model) {
  return rondo::CountParameters(model.config, model.plan).Total();
}

void Run(const std::string& path, const std::string& out, int rank) {
  rondo::ThreadPool pool;
  const rondo::Model model = rondo::LoadModel(path);
  const rondo::FoldOptions options = TwoLoops(model.config.layers, rank);
  const rondo::SharingPlan plan = rondo::MakePlan(model.config, options);
  const rondo::Model folded = rondo::Fold(model, plan, options, pool);
  rondo::SaveModel(folded, out, rondo::DType::kBF16);
  std::cout << Parameters(model) << " parameters became " << Parameters(folded) << ": " << out
            << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::cerr << "usage: example_fold MODEL OUT [RANK]\n";
    return 2;
  }
  try {
    Run(argv[1], argv[2], argc == 4 ? std::stoi(argv[3]) : 64);
    return 0;
  } catch (const std::exception& error) {  // rondo::Error names the file and what was expected
    std::cerr << error.what() << '\n';
    return 1;
  }
}
