#include "report/plan_picture.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "base/strings.h"
#include "rondo/weights.h"

namespace rondo {
namespace {

constexpr int kColumns = 100;

// Modules that have the same tie map, drawn together.
struct Row {
  std::string label;
  std::vector<int> blocks;
};

std::string PadLeft(std::string text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string PadRight(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

bool IsIdentity(const std::vector<int>& blocks) {
  for (size_t d = 0; d < blocks.size(); ++d) {
    if (blocks[d] != static_cast<int>(d)) return false;
  }
  return true;
}

std::string JoinNames(const std::vector<Module>& modules) {
  std::vector<std::string> names;
  for (const Module m : modules) names.emplace_back(Name(m));
  return Join(names, ",");
}

std::vector<Module> ModulesOf(const ModelConfig& config, ModuleGroup group) {
  std::vector<Module> modules;
  for (const Module m : kAllModules) {
    if (config.HasModule(m) && GroupOf(m) == group) modules.push_back(m);
  }
  return modules;
}

// One row for a group whose modules agree, one for each set of agreeing modules otherwise.
std::vector<Row> GroupRows(const ModelConfig& config, const SharingPlan& plan, ModuleGroup group) {
  const std::vector<Module> modules = ModulesOf(config, group);
  std::vector<std::vector<Module>> sets;
  for (const Module m : modules) {
    const auto same = std::find_if(sets.begin(), sets.end(), [&](const std::vector<Module>& set) {
      return plan[set[0]].blocks == plan[m].blocks;
    });
    if (same == sets.end()) {
      sets.push_back({m});
    } else {
      same->push_back(m);
    }
  }
  std::vector<Row> rows;
  for (const std::vector<Module>& set : sets) {
    rows.push_back(
        {sets.size() == 1 ? std::string(Name(group)) : JoinNames(set), plan[set[0]].blocks});
  }
  return rows;
}

std::vector<Row> AllRows(const ModelConfig& config, const SharingPlan& plan) {
  std::vector<Row> rows = GroupRows(config, plan, ModuleGroup::kAttention);
  const std::vector<Row> ffn = GroupRows(config, plan, ModuleGroup::kFfn);
  if (rows.size() == 1 && ffn.size() == 1 && rows[0].blocks == ffn[0].blocks) {
    rows[0].label = "linears";
  } else {
    rows.insert(rows.end(), ffn.begin(), ffn.end());
  }
  for (Row& row : GroupRows(config, plan, ModuleGroup::kNorms)) rows.push_back(std::move(row));
  return rows;
}

// Norms that are absorbed or own everywhere are said in words, not drawn.
std::string InWords(const Row& row, const std::vector<Row>& rows) {
  if (row.blocks[0] == kAbsorbed) return row.label + ": absorbed into the linears";
  const bool sharing = std::any_of(rows.begin(), rows.end(), [](const Row& other) {
    return other.blocks[0] != kAbsorbed && !IsIdentity(other.blocks);
  });
  const bool linears = &row == &rows.front();
  if (IsIdentity(row.blocks) && sharing && !linears) return row.label + ": own at every depth";
  return "";
}

// [depths] how many times the block has run when this depth is reached, from 1.
std::vector<int> UseNumbers(const std::vector<int>& blocks) {
  std::map<int, int> uses;
  std::vector<int> numbers;
  for (const int block : blocks) numbers.push_back(++uses[block]);
  return numbers;
}

std::string Cells(const std::string& label, const std::vector<int>& values, int begin, int end,
                  size_t label_width, size_t cell, const std::vector<bool>& painted) {
  std::string line = PadRight(label, label_width);
  for (int d = begin; d < end; ++d) {
    const int value = values[static_cast<size_t>(d)];
    const std::string text = PadLeft(std::to_string(value), cell);
    if (!painted.empty() && painted[static_cast<size_t>(d)]) {
      line += "\x1b[" + std::to_string(31 + value % 6) + "m" + text + "\x1b[0m";
    } else {
      line += text;
    }
  }
  return line + "\n";
}

std::vector<bool> SharedDepths(const std::vector<int>& blocks) {
  std::vector<bool> shared;
  for (const int block : blocks) {
    shared.push_back(std::count(blocks.begin(), blocks.end(), block) > 1);
  }
  return shared;
}

// Depths a line: as many as fit, but whole loops of a cycle, one if it is long, so that blocks line
// up.
int BandWidth(const std::vector<int>& blocks, int capacity) {
  const int unique = *std::max_element(blocks.begin(), blocks.end()) + 1;
  bool cycle = unique < static_cast<int>(blocks.size());
  for (size_t d = 0; d < blocks.size(); ++d)
    cycle = cycle && blocks[d] == static_cast<int>(d) % unique;
  constexpr int kLong = 8;
  if (!cycle || unique > capacity) return capacity;
  return unique >= kLong ? unique : capacity / unique * unique;
}

std::string Grid(const SharingPlan& plan, const std::vector<Row>& rows, bool color) {
  std::vector<Row> drawn;
  size_t label_width = 6;
  for (const Row& row : rows) {
    if (!InWords(row, rows).empty()) continue;
    drawn.push_back(row);
    label_width = std::max(label_width, row.label.size() + 1);
  }
  std::vector<int> depths(static_cast<size_t>(plan.depths));
  for (size_t d = 0; d < depths.size(); ++d) depths[d] = static_cast<int>(d);
  const size_t cell = std::to_string(plan.depths - 1).size() + 1;
  const int capacity = static_cast<int>((kColumns - label_width) / cell);
  const int band = BandWidth(drawn[0].blocks, capacity);
  std::string out;
  for (int begin = 0; begin < plan.depths; begin += band) {
    const int end = std::min(plan.depths, begin + band);
    const auto line = [&](const std::string& label, const std::vector<int>& values,
                          const std::vector<bool>& painted) {
      out += Cells(label, values, begin, end, label_width, cell, painted);
    };
    line("depth", depths, {});
    for (const Row& row : drawn) {
      line(row.label, row.blocks, color ? SharedDepths(row.blocks) : std::vector<bool>{});
      if (!IsIdentity(row.blocks)) line("  loop", UseNumbers(row.blocks), {});
    }
    out += "\n";
  }
  return out;
}

std::string ResidualText(const SharingPlan& plan, Module m) {
  const ModulePlan& module = plan[m];
  if (!module.blocks.empty() && module.blocks[0] == kAbsorbed) return "absorbed";
  std::string text(Name(module.residual));
  if (!module.ranks.empty()) {
    std::vector<int> own = module.ranks;
    const auto zeros = std::erase(own, 0);
    if (own.empty()) return text + " 0";
    const auto [low, high] = std::ranges::minmax(own);
    text += " " + std::to_string(low);
    if (high > low) text += "-" + std::to_string(high);
    if (zeros > 0) text += " (0 at " + std::to_string(zeros) + " depths)";
  }
  return text;
}

struct Sizes {
  int64_t shared = 0;
  int64_t residual = 0;
};

// Parameters by module name, from tensor names blocks.<k>.<module>.… and
// residual.<depth>.<module>.….
std::map<std::string, Sizes> ModuleSizes(const ModelConfig& config, const SharingPlan& plan) {
  std::map<std::string, Sizes> sizes;
  for (const TensorSpec& spec : ExpectedTensors(config, plan)) {
    const std::vector<std::string> parts = Split(spec.name, '.');
    if (parts[0] == "blocks") sizes[parts[2]].shared += ElementCount(spec.shape);
    if (parts[0] == "residual") sizes[parts[2]].residual += ElementCount(spec.shape);
  }
  return sizes;
}

std::string TableLine(const std::string& a, const std::string& b, const std::string& c,
                      const std::string& d, const std::string& e, const std::string& f) {
  return PadRight(a, 15) + PadLeft(b, 6) + "  " + PadRight(c, 14) + PadLeft(d, 14) +
         PadLeft(e, 14) + "  " + f + "\n";
}

std::string ModuleTable(const ModelConfig& config, const SharingPlan& plan) {
  std::map<std::string, Sizes> sizes = ModuleSizes(config, plan);
  std::string out = TableLine("module", "blocks", "shape", "in blocks", "in residuals", "residual");
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    const Sizes size = sizes[std::string(Name(m))];
    out += TableLine(std::string(Name(m)), std::to_string(plan[m].BlockCount()),
                     ToString(config.ModuleShape(m)), WithThousands(size.shared),
                     WithThousands(size.residual), ResidualText(plan, m));
  }
  if (plan.prefix > 0) {
    const Shape shape = {plan.prefix, int64_t{config.kv_heads} * config.head_dim};
    out += TableLine("prefix", "", ToString(shape), "", WithThousands(sizes["prefix"].residual),
                     "a key and a value each, at every depth");
  }
  return out + "\n";
}

std::string Totals(const ModelConfig& config, const SharingPlan& plan) {
  const ParameterCount count = CountParameters(config, plan);
  std::string out =
      PadRight("parameters", 22) + PadLeft("stored", 16) + PadLeft("unrolled", 16) + "\n";
  const auto line = [&](const char* label, int64_t stored, int64_t logical) {
    out += PadRight(label, 22) + PadLeft(WithThousands(stored), 16) +
           PadLeft(WithThousands(logical), 16) + "\n";
  };
  const int64_t logical = count.embedding + count.logical;
  line("embedding and head", count.embedding, count.embedding);
  line("layers, final norm", count.shared, count.logical);
  line("residuals", count.residual, 0);
  line("all but embeddings", count.NonEmbedding(), count.logical);
  line("total", count.Total(), logical);
  const auto bytes = [&](const char* label, uint64_t width) {
    out += PadRight(label, 22) +
           PadLeft(HumanBytes(static_cast<uint64_t>(count.Total()) * width), 16) +
           PadLeft(HumanBytes(static_cast<uint64_t>(logical) * width), 16) + "\n";
  };
  bytes("bytes as f32", 4);
  bytes("bytes as bf16", 2);
  return out;
}

// "linears: 2 blocks run 3 times, 6 blocks run 4 times": layers of their own, and how an uneven
// division was resolved. Empty when all blocks run equally often.
std::string UnevenNote(const Row& row) {
  if (row.blocks[0] == kAbsorbed) return "";
  std::map<int, int> uses;
  for (const int block : row.blocks) ++uses[block];
  std::map<int, int> blocks_with;  // number of uses -> number of blocks
  for (const auto& [block, count] : uses) ++blocks_with[count];
  if (blocks_with.size() < 2) return "";
  std::vector<std::string> parts;
  for (const auto& [count, blocks] : blocks_with) {
    parts.push_back(std::to_string(blocks) + (blocks == 1 ? " block runs " : " blocks run ") +
                    (count == 1 ? "once" : std::to_string(count) + " times"));
  }
  return row.label + ": " + Join(parts, ", ") + "\n";
}

std::string BiasNote(const ModelConfig& config, const SharingPlan& plan) {
  std::vector<Module> own;
  for (const Module m : kAllModules) {
    if (config.HasModule(m) && plan[m].own_bias) own.push_back(m);
  }
  return own.empty() ? "" : "biases of " + JoinNames(own) + ": own at every depth\n";
}

std::string JoinNumbers(const std::vector<int>& numbers) {
  std::vector<std::string> texts;
  for (const int number : numbers) texts.push_back(std::to_string(number));
  return Join(texts, ", ");
}

std::string RangeText(const std::vector<int>& numbers) {
  const auto [low, high] = std::ranges::minmax(numbers);
  return std::to_string(low) + (high > low ? " to " + std::to_string(high) : "");
}

std::string GainNote(const ModelConfig& config, const SharingPlan& plan) {
  std::string out;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m) || plan[m].gains.empty()) continue;
    std::vector<int> depths;
    for (int d = 0; d < plan.depths; ++d) {
      if (plan[m].Gain(d) != GainKind::kNone) depths.push_back(d);
    }
    if (depths.empty()) continue;
    out += "gains on " + std::string(Name(m)) + ": depths " + JoinNumbers(depths) + "\n";
  }
  return out;
}

std::string FactorNote(const ModelConfig& config, const SharingPlan& plan) {
  std::string out;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m) || plan[m].factors.empty()) continue;
    std::vector<int> ranks = plan[m].factors;
    std::erase(ranks, 0);
    if (ranks.empty()) continue;
    out += std::string(Name(m)) + ": " + std::to_string(ranks.size()) + " of " +
           std::to_string(plan[m].factors.size()) + " blocks of low rank, " + RangeText(ranks) +
           "\n";
  }
  return out;
}

// What plans of format 2 say beside ties and residuals.
std::string ChangeNotes(const ModelConfig& config, const SharingPlan& plan) {
  std::string out;
  if (!plan.gone.empty()) {
    out += "gone: depths " + JoinNumbers(plan.gone) + " of the original's " +
           std::to_string(plan.depths + static_cast<int>(plan.gone.size())) + "\n";
  }
  if (!plan.patches.empty()) {
    out += "linear patches: before depths " + JoinNumbers(plan.patches) + "\n";
  }
  out += GainNote(config, plan) + FactorNote(config, plan);
  if (!plan.ffn_widths.empty()) {
    out += "feed-forward: " + RangeText(plan.ffn_widths) + " of " + std::to_string(config.d_ff) +
           " channels\n";
  }
  if (plan.embedding_rank > 0) {
    out += "embedding: two factors of rank " + std::to_string(plan.embedding_rank) + "\n";
  }
  for (const TensorTypeRule& rule : plan.types) {
    out += "stored as " + std::string(Info(rule.type).name) + ": " + rule.pattern + "\n";
  }
  return out;
}

}  // namespace

std::string DrawPlan(const ModelConfig& config, const SharingPlan& plan, bool color) {
  const std::vector<Row> rows = AllRows(config, plan);
  std::string out =
      config.family + ", " + std::to_string(plan.depths) + " depths, order " + plan.order;
  out += plan.loops > 1 ? ", up to " + std::to_string(plan.loops) + " loops\n\n" : "\n\n";
  out += Grid(plan, rows, color);
  std::string notes;
  for (const Row& row : rows) {
    const std::string words = InWords(row, rows);
    if (!words.empty()) notes += words + "\n";
    notes += UnevenNote(row);
  }
  notes += BiasNote(config, plan) + ChangeNotes(config, plan);
  if (!notes.empty()) out += notes + "\n";
  return out + ModuleTable(config, plan) + Totals(config, plan);
}

}  // namespace rondo
