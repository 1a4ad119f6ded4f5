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

TEST(ChatTemplateTest, BlocksHaveVariablesOfTheirOwn) {
  EXPECT_EQ(Render("{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}[{{ x }}]"), "1[]");
  EXPECT_EQ(Render("{% with a = 2 %}{{ a }}{% endwith %}[{{ a }}]"), "2[]");
  EXPECT_EQ(Render("{% filter upper %}{% set a = 'b' %}{{ a }}{% endfilter %}[{{ a }}]"), "B[]");
  EXPECT_EQ(Render("{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}"),
            "1");
}

TEST(ChatTemplateTest, RecursiveLoopsSeeWhatIsOutsideOfThem) {
  EXPECT_EQ(Render("{% for i in [1, [2]] recursive %}[{{ i if i is number }}{{ y }}]{% set y = 5 %}"
                   "{{ loop(i) if i is not number }}{% endfor %}"),
            "[1][][2]");
}

TEST(ChatTemplateTest, OrdersCountsAndFormats) {
  EXPECT_EQ(Render("{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | min }}{{ [1, 2] | sum }}"),
            "[1, 2, 3]A3");
  EXPECT_EQ(Render("{{ -0.0 }} {{ 2.5 | round }} {{ '%03d' % 7 }} {{ '{:>3}'.format('a') }}"),
            "-0.0 2.0 007   a");
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
    {"EndlessLoop", "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "too deeply"},
    {"EndlessCaller",
     "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall "
     "%}"
     "{% endmacro %}{{ n() }}",
     "too deeply"},
    {"WideFormat", "{{ '%99999d' % 1 }}", "width"},
    {"WideBraces", "{{ '{:99999}'.format(1) }}", "width"},
    {"WideCenter", "{{ 'a'.center(9999999) }}", "width"},
    {"NoCall", "{% call 1 %}{% endcall %}", "expected a call"},
    {"OpenWith", "{% with a = 1 %}x", "endwith"},
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
