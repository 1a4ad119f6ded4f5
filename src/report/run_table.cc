#include "report/run_table.h"

#include <set>

#include "base/strings.h"
#include "report/run_values.h"

namespace rondo {
namespace {

std::string Cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string RunsCsv(const std::vector<RunData>& runs) {
  std::set<std::string> names;
  for (const RunData& run : runs) {
    for (const RunMetrics& line : run.lines) {
      for (const auto& [name, value] : ValuesOf(line)) names.insert(name);
    }
  }
  std::string table = "run,step,tokens,seconds";
  for (const std::string& name : names) table += "," + Cell(name);
  table += ",event,text\n";
  for (const RunData& run : runs) {
    for (const RunMetrics& line : run.lines) {
      table += Cell(run.name) + "," + std::to_string(line.step) + "," +
               std::to_string(line.tokens) + "," + ShortestNumber(line.seconds);
      const auto values = ValuesOf(line);
      for (const std::string& name : names) {
        const auto found = values.find(name);
        table += "," + (found == values.end() ? "" : ShortestNumber(found->second));
      }
      table += "," + Cell(line.event) + "," + Cell(line.text) + "\n";
    }
  }
  return table;
}

}  // namespace rondo
