#include "report/run_values.h"

#include <optional>

namespace rondo {

std::map<std::string, double> ValuesOf(const RunMetrics& line) {
  std::map<std::string, double> values = line.more;
  const auto add = [&](const char* name, const auto& value) {
    if (value) values[name] = static_cast<double>(*value);
  };
  add("loss", line.loss);
  add("ce", line.ce);
  add("kd", line.kd);
  add("lr", line.lr);
  add("grad_norm", line.grad_norm);
  add("tokens_per_s", line.tokens_per_s);
  add("resident_bytes", line.resident_bytes);
  add("valid_perplexity", line.valid_perplexity);
  return values;
}

}  // namespace rondo
