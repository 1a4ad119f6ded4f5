#include "report/tie_picture.h"

#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include "report/svg.h"

namespace rondo {
namespace {

constexpr int kLeft = 64, kTop = 44, kBottom = 40, kRight = 20, kWidth = 720;
constexpr int kTallRow = 16, kLowRow = 8;  // low ones where there are many layers
constexpr size_t kManyLayers = 24;

struct Moment {
  int64_t step = 0;
  std::vector<int> owners;  // −1: nothing was decided yet
};

// "layer: 0 0 . 3" as the trainer writes it.
Moment ReadMoment(const RunMetrics& line, std::string* unit) {
  const size_t colon = line.text.find(':');
  *unit = line.text.substr(0, colon);
  Moment moment{.step = line.step};
  if (colon == std::string::npos) return moment;
  std::istringstream words(line.text.substr(colon + 1));
  for (std::string word; words >> word;) {
    const bool number = word.find_first_not_of("0123456789") == word.npos && word.size() < 6;
    moment.owners.push_back(number ? std::stoi(word) : -1);
  }
  return moment;
}

// Neighbouring owners differ in hue, and rows of colours in lightness.
std::string Color(int owner) {
  constexpr int kHues = 12;
  constexpr std::array<int, 3> kLightness = {45, 65, 30};
  const int hue = owner % kHues * 210 % 360;
  const auto shade = static_cast<size_t>(owner / kHues) % kLightness.size();
  return "hsl(" + std::to_string(hue) + ",60%," + std::to_string(kLightness[shade]) + "%)";
}

class Picture {
 public:
  Picture(const std::string& unit, const std::vector<Moment>& moments, int64_t end)
      : unit_(unit),
        moments_(moments),
        begin_(moments.front().step),
        end_(std::max(end, begin_ + 1)),
        row_(moments.front().owners.size() > kManyLayers ? kLowRow : kTallRow) {}

  std::string Draw() const {
    const size_t layers = moments_.front().owners.size();
    const int height = kTop + static_cast<int>(layers) * row_ + kBottom;
    std::string out =
        svg::Open(kLeft + kWidth + kRight, height, "Whose weights layers use (" + unit_ + ")");
    for (size_t layer = 0; layer < layers; ++layer) {
      out += Row(layer);
      const int middle = kTop + static_cast<int>(layer) * row_ + row_ / 2 + 4;
      if (row_ == kTallRow || layer % 4 == 0) {
        out += svg::Text(kLeft - 6, middle, "end", std::to_string(layer));
      }
    }
    out += svg::Text(kLeft, height - kBottom + 16, "start", "step " + std::to_string(begin_));
    out += svg::Text(kLeft + kWidth, height - kBottom + 16, "end", "step " + std::to_string(end_));
    return out + "</svg>\n";
  }

 private:
  int At(int64_t step) const {
    const double share = static_cast<double>(step - begin_) / static_cast<double>(end_ - begin_);
    return kLeft + static_cast<int>(share * kWidth);
  }

  // One rectangle for as long as the owner stays the same.
  std::string Row(size_t layer) const {
    std::string out;
    for (size_t i = 0; i < moments_.size();) {
      const int owner = moments_[i].owners[layer];
      size_t next = i + 1;
      while (next < moments_.size() && moments_[next].owners[layer] == owner) ++next;
      const int64_t from = moments_[i].step,
                    to = next < moments_.size() ? moments_[next].step : end_;
      if (owner >= 0 && At(to) > At(from)) {
        out += svg::Rect(At(from), kTop + static_cast<int>(layer) * row_, At(to) - At(from),
                         row_ - 1, Color(owner),
                         "layer " + std::to_string(layer) + " uses layer " + std::to_string(owner) +
                             ", steps " + std::to_string(from) + " to " + std::to_string(to));
      }
      i = next;
    }
    return out;
  }

  const std::string& unit_;
  const std::vector<Moment>& moments_;
  int64_t begin_, end_;
  int row_;
};

}  // namespace

std::vector<std::string> TiePictures(const RunData& run) {
  std::map<std::string, std::vector<Moment>> units;
  for (const RunMetrics& line : run.lines) {
    if (line.event != "tie") continue;
    std::string unit;
    const Moment moment = ReadMoment(line, &unit);
    std::vector<Moment>& moments = units[unit];
    // A log of other layers than its first line's is nothing that the trainer wrote.
    const bool same = moments.empty() || moments.front().owners.size() == moment.owners.size();
    if (same && !moment.owners.empty()) moments.push_back(moment);
  }
  std::vector<std::string> pictures;
  for (const auto& [unit, moments] : units) {
    if (!moments.empty()) pictures.push_back(Picture(unit, moments, run.lines.back().step).Draw());
  }
  return pictures;
}

}  // namespace rondo
