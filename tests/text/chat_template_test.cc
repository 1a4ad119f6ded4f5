#include "text/jinja/chat_template.h"

#include <string>
#include <vector>

#include "text/text_testing.h"

namespace rondo {
namespace {

std::string Render(const std::string& source, std::vector<ChatMessage> messages = {}) {
  return RenderChatTemplate({.source = source, .file = "model", .bos_token = "<s>"}, messages,
                            true);
}

TEST(ChatTemplateTest, SeesMessagesAndTokens) {
  EXPECT_EQ(Render("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n"
                   "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
                   {{"user", "Hi"}, {"assistant", "Yo"}}),
            "<s>user: Hi\nassistant: Yo\nassistant:");
}

TEST(ChatTemplateTest, UndefinedPrintsNothingButHasNoMembers) {
  EXPECT_EQ(Render("[{{ nothing }}{{ eos_token }}]"), "[]");
  ExpectError([] { Render("{{ nothing.more }}"); }, "'nothing' is undefined");
}

TEST(ChatTemplateTest, RefusalsNameTheModel) {
  ExpectError([] { Render("{{ raise_exception('no system role') }}"); }, "no system role");
  ExpectError([] { Render("{{ 1 / 0 }}"); }, "model");
}

TEST(ChatTemplateTest, NeedsATemplate) {
  const auto tokenizer = LoadJson(TinyTokenizerJson().dump());
  EXPECT_FALSE(tokenizer->HasChatTemplate());
  ExpectError([&] { tokenizer->ApplyChatTemplate({}); }, "no chat template");
}

struct Bad {
  const char* name;
  std::string source;
  const char* message;
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

class BadTemplateTest : public testing::TestWithParam<Bad> {};

TEST_P(BadTemplateTest, EndsInAnError) {
  ExpectError([] { Render(GetParam().source, {{"user", "Hi"}}); }, GetParam().message);
}

const std::vector<Bad> kBad = {
    {"OpenTag", "{{ x", "without end"},
    {"OpenBlock", "{% if x %}", "missing"},
    {"OpenComment", "{# x", "without end"},
    {"OpenString", "{{ 'x }}", "without end"},
    {"OpenRaw", "{% raw %} x", "without end"},
    {"StrayEnd", "{% endif %}", "endif"},
    {"Unbalanced", "{{ (1] }}", "unexpected"},
    {"Include", "{% include 'passwd' %}", "include"},
    {"Import", "{% import 'x' as y %}", "import"},
    {"UnknownFilter", "{{ 1|mystery }}", "mystery"},
    {"UnknownTest", "{{ 1 is mystery }}", "mystery"},
    {"UnknownFunction", "{{ open('x') }}", "open"},
    {"Append", "{% set x = [] %}{{ x.append(1) }}", "change"},
    {"HiddenAttribute", "{% set n = namespace() %}{% set n._x = 1 %}", "_x"},
    {"TypeError", "{{ 1 + 'a' }}", "operands"},
    {"NumberTooLarge", "{{ 99999999999999999999 }}", "too large"},
    {"Overflow", "{{ 9223372036854775807 + 1 }}", "too large"},
    {"PowerBomb", "{{ 10 ** 10 ** 10 }}", "too large"},
    {"DeepParentheses", "{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}",
     "too deeply"},
    {"DeepNegation", "{{ " + Repeat("not ", 100'000) + "1 }}", "too deeply"},
    {"DeepMinus", "{{ " + Repeat("- ", 100'000) + "1 }}", "too deeply"},
    {"LongSum", "{{ 1" + Repeat("+1", 100'000) + " }}", "too deeply"},
    {"LongChain", "{{ x" + Repeat(".a", 100'000) + " }}", "too deeply"},
    {"LongFilters", "{{ x" + Repeat("|trim", 100'000) + " }}", "too deeply"},
    {"DeepBlocks", Repeat("{% if 1 %}", 50'000), "too deeply"},
    {"EndlessMacro", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses"},
    {"MacroTree",
     "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
     "too long"},
    {"LongLoops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
     "too long"},
    {"LongRange", "{{ range(1000000000) }}", "too long"},
    {"GrowingText",
     "{% set n = namespace(t='abcdefgh') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% "
     "endfor %}",
     "too"},
    {"GrowingList",
     "{% set n = namespace(t=[1]) %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
     "too long"},
    {"DeepList",
     "{% set n = namespace(t=[]) %}{% for i in range(9999) %}{% set n.t = [n.t] %}{% endfor %}",
     "nested"},
    {"RepeatText", "{{ 'x' * 1000000000 }}", "often"},
    {"RepeatTwice", "{{ 'x' * 1000000 * 1000000 }}", "too"},
    {"ReplaceBomb", "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}", "too long"},
    {"JoinBomb", "{{ range(99999)|join('x' * 100000) }}", "too long"},
    {"MuchOutput", "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "too"},
    {"IndentBomb", "{{ ('\n' * 1000000)|indent(256, false, true) }}", "too"},
};

INSTANTIATE_TEST_SUITE_P(All, BadTemplateTest, testing::ValuesIn(kBad),
                         [](const auto& test) { return test.param.name; });

TEST(ChatTemplateTest, NamespaceThatHoldsItselfIsFreed) {
  EXPECT_EQ(Render("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n is defined }}"), "True");
}

}  // namespace
}  // namespace rondo
