// The pieces that all pictures are made of.
#pragma once

#include <string>

namespace rondo::svg {

// Text with XML's special characters escaped, and without the control characters it forbids.
std::string Escape(const std::string& text);
// One number through printf's format.
std::string Format(const char* format, double value);
// A filled rectangle; `tooltip` may be empty.
std::string Rect(int x, int y, int width, int height, const std::string& color,
                 const std::string& tooltip);
// `anchor` is start, middle or end; `extra` more attributes.
std::string Text(int x, int y, const std::string& anchor, const std::string& text,
                 const std::string& extra = {});
// The opening of a self-contained picture on white, with its title. Close it with "</svg>\n".
std::string Open(int width, int height, const std::string& title);

}  // namespace rondo::svg
