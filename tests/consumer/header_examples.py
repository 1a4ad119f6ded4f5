"""The examples in the opening comments of public headers, as C++ that a compiler can check.

In an opening comment, a block of lines behind "//" and three spaces is code; a block that begins with more spaces is
something else, such as a formula or a table.
"""

import itertools
import re

# What examples take as given: a loaded model, tokens, samples and the like.
GIVEN = """
using namespace rondo;
extern ThreadPool pool;
extern Model model, folded, plain;
extern ModelConfig config;
extern Engine engine, engine_a, engine_b;
extern KvCache cache;
extern std::shared_ptr<const Tokenizer> tokenizer;
extern std::vector<int32_t> tokens, ids;
extern TensorTypes types;
extern std::vector<float> values, samples, features;
extern int64_t rows, cols;
extern std::span<const std::byte> bytes;
extern std::shared_ptr<const void> file;
extern std::string path;
extern AudioClip clip;
"""


def opening_comment(text):
    return list(itertools.takewhile(lambda line: line.startswith("//"), text.splitlines()))


def example(text):
    """Line numbers (from 1) and code of the example in the opening comment of a header."""
    lines, code, previous = [], False, ""
    for number, line in enumerate(opening_comment(text), 1):
        indented = line.startswith("//   ")
        if indented and not previous.startswith("//   "):  # a block begins
            code = not line.startswith("//    ")
        if indented and code:
            lines.append((number, line[5:]))
        previous = line
    return lines


def translation_unit(folder):
    """A source file with every public header below `folder` and all of their examples."""
    headers = sorted((folder / "rondo").glob("*.h"))
    parts = ["#include <cstdio>", "#include <iostream>"]
    parts += [f'#include "rondo/{header.name}"' for header in headers]
    parts.append(GIVEN)
    for header in headers:
        parts.append(f"void Example_{header.stem}() {{")
        for number, code in example(header.read_text()):
            parts += [f'#line {number} "{header}"', code]
        parts.append("}")
    return "\n".join(parts) + "\n"


def structs(text):
    """Names of the structs that a header declares, each with the names of its data members."""
    for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL):
        declarations = re.sub(r"//.*", "", body)
        members = re.findall(r"^  (?!static|using|friend|explicit)(?:std::function<.*>|[\w:<>, *]+?)[ *](\w+)"
                             r"(?: = [^;]*|)(?:;|, )", declarations, re.MULTILINE)
        constructed = re.search(rf"^  (?:explicit )?{name}\(", declarations, re.MULTILINE)
        if members and not constructed:
            yield name, members


def initialisers(folder):
    """A source file that initialises every struct of public headers by the name of one member, first and last."""
    headers = sorted((folder / "rondo").glob("*.h"))
    parts = [f'#include "rondo/{header.name}"' for header in headers]
    for header in headers:
        for name, members in structs(header.read_text()):
            for number, member in enumerate(sorted({members[0], members[-1]})):
                parts.append(f"const rondo::{name} {name}_{number}{{.{member} = {{}}}};")
    return "\n".join(parts) + "\n"


def included(text):
    return re.findall(r'^#include ([<"][^>"]+[>"])', text, re.MULTILINE)


def reachable(headers, name):
    """Names of the public headers that `name` includes, itself among them."""
    found, waiting = set(), [name]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting += [part[7:-1] for part in included(headers[at]) if part.startswith('"rondo/')]
    return found


def declared(text):
    """Types and functions that a header declares at the outermost level of namespace rondo."""
    types = re.findall(r"^(?:class|struct|enum class|using) (\w+)\b(?!;)", text, re.MULTILINE)
    functions = re.findall(r"^(?!//|#|class|struct|enum)[\w:].*?\b([A-Z]\w+)\(", text, re.MULTILINE)
    return {*types, *functions}


def undeclared(headers, name):
    """Names of rondo that an example of header `name` uses and that the header's includes do not declare."""
    everywhere = set().union(*(declared(text) for text in headers.values()))
    here = set().union(*(declared(headers[other]) for other in reachable(headers, name)))
    code = "\n".join(re.sub(r'//.*|"[^"]*"', "", line) for _, line in example(headers[name]))
    used = set(re.findall(r"(?<![\w.>:])[A-Z]\w+", code))
    return sorted((used & everywhere) - here)
