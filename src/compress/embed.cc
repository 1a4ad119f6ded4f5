// The embedding as two factors (ALBERT, Lan et al. 2020): a truncated SVD in which a row counts as
// often as its token stands in the text, and a little where it does not.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "compress/operator.h"
#include "fold/linalg.h"

namespace rondo {
namespace {

constexpr int kMultiple = 32;
constexpr double kUnseen = 0.3;  // weight of a row whose token is not in the text

class EmbedOperator : public Operator {
 public:
  std::string_view name() const override { return "embed"; }

  std::vector<Step> Steps(const State& state) const override {
    const ModelConfig& config = state.model.config;
    const int present = state.model.plan.embedding_rank;
    const int whole = present > 0 ? present : config.d_model;
    const int rank = whole * 3 / 4 / kMultiple * kMultiple;
    if (rank < kMultiple || config.vocab == 0) return {};
    return {{.name = "embed rank " + std::to_string(rank),
             .apply = [rank](const State& s, Meter& meter) { return Factored(s, meter, rank); }}};
  }

 private:
  // With D the weights of rows, D E ≈ U Vᵀ: E ≈ (E V) Vᵀ, since V spans the kept directions.
  static State Factored(const State& before, Meter& meter, int rank) {
    State state = before;
    const Tensor& stored = state.model.weights.Get("embed.weight");
    const Tensor* projection = state.model.weights.Find("embed_projection.weight");
    const int64_t vocab = stored.rows(), width = stored.cols();
    const std::vector<float> rows = ToF32(stored);
    const std::vector<int64_t> counts = meter.TokenCounts();
    MatrixF64 gram(width, width);
    constexpr int64_t kChunk = 1024;
    for (int64_t begin = 0; begin < vocab; begin += kChunk) {
      const int64_t count = std::min(kChunk, vocab - begin);
      MatrixF64 chunk(count, width);
      for (int64_t r = 0; r < count; ++r) {
        const double weight =
            std::sqrt(kUnseen + static_cast<double>(counts[static_cast<size_t>(begin + r)]));
        for (int64_t i = 0; i < width; ++i) {
          chunk(r, i) = weight * rows[static_cast<size_t>((begin + r) * width + i)];
        }
      }
      AddGram(1, chunk, gram);
    }
    const Spectrum spectrum = SymmetricEigen(std::move(gram), rank);
    std::vector<float> low(static_cast<size_t>(vocab * rank));
    const MatrixF64& v = spectrum.vectors;  // [rank, width]
    meter.pool().ParallelFor(vocab, [&](int64_t t) {
      for (int64_t r = 0; r < rank; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < width; ++i)
          sum += v(r, i) * rows[static_cast<size_t>(t * width + i)];
        low[static_cast<size_t>(t * rank + r)] = static_cast<float>(sum);
      }
    });
    MatrixF64 up = Transpose(v);  // [width, rank]
    if (projection != nullptr) {
      up = Multiply(Widen(ToF32(*projection), projection->rows(), projection->cols()), up);
    }
    const DType type = state.types.at("embed.weight");
    state.model.plan.embedding_rank = rank;
    state.model.weights.Set("embed.weight", Tensor::FromF32({vocab, rank}, std::move(low)));
    state.model.weights.Set("embed_projection.weight",
                            Tensor::FromF32({up.rows(), rank}, Narrow(up)));
    state.types["embed_projection.weight"] = type;
    return state;
  }
};

}  // namespace

std::unique_ptr<Operator> MakeEmbed() { return std::make_unique<EmbedOperator>(); }

}  // namespace rondo
