#include "report/svg.h"

#include <array>
#include <cstdio>

namespace rondo::svg {

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Other control characters are not allowed in XML.
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

std::string Format(const char* format, double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string Rect(int x, int y, int width, int height, const std::string& color,
                 const std::string& tooltip) {
  std::string out = "<rect x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) +
                    "\" width=\"" + std::to_string(width) + "\" height=\"" +
                    std::to_string(height) + "\" fill=\"" + color + "\"";
  return out + (tooltip.empty() ? "/>\n" : "><title>" + Escape(tooltip) + "</title></rect>\n");
}

std::string Text(int x, int y, const std::string& anchor, const std::string& text,
                 const std::string& extra) {
  return "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" text-anchor=\"" +
         anchor + "\"" + extra + ">" + Escape(text) + "</text>\n";
}

std::string Open(int width, int height, const std::string& title) {
  const std::string size = std::to_string(width), other = std::to_string(height);
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + size + "\" height=\"" + other +
         "\" viewBox=\"0 0 " + size + " " + other +
         "\" font-family=\"sans-serif\" font-size=\"10\" fill=\"#222\">\n" +
         Rect(0, 0, width, height, "#fff", {}) +
         Text(8, 22, "start", title, " font-size=\"14\" font-weight=\"bold\"");
}

}  // namespace rondo::svg
