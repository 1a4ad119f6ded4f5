"""Chat templates of the families against transformers' apply_chat_template (jinja2)."""

import json
import pathlib

import pytest
import transformers
from test_tokenizers import Tool
from tokenizer_models import save, special
from tokenizers import Tokenizer, models

# As published with the models.
TEMPLATES = sorted((pathlib.Path(__file__).parents[1] / "data" / "chat_templates").glob("*.jinja"))

# The language itself: whitespace control, scopes, operators, filters, methods.
LANGUAGE = [
    "{% for m in messages %}\n  {% if loop.first %}\n    first\n  {% endif %}\n  {{ m.role }}\n{% endfor %}\nend\n\n",
    "a  {%- if true -%}  b  {%- endif %}\n\n  c {# comment #} d\n  {#- x -#}\n e {{- ' f ' -}} g",
    "  {%+ if true %} kept {% endif +%}\n x\n\t{% set y = 1 %}\n{{ y }}{% raw %}{{ raw }} {% if %}{% endraw %}!",
    "{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1, l=[]) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% set ns.l = ns.l + [i] %}{% "
    "endfor %}{{ ns.x }}{{ ns.l }}",
    "{% if true %}{% set z = 5 %}{% endif %}{{ z }}{% macro f(a, b=2, c='x') %}[{{ a }}|{{ b }}|{{ c }}|{{ z }}]{% "
    "endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=9, a=8) }}",
    "{% macro r(n) %}{{ n }}{% if n > 0 %},{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(5) }}",
    "{% for i in [1,2,3,4,5,6] if i % 2 == 0 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ';' if not loop.last }}{% "
    "else %}none{% endfor %}",
    "{% for i in [] %}x{% else %}empty{% endfor %}{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if "
    "i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': [1, 2.5, none, true]}.items() %}{{ k }}={{ v }} {% endfor %}{{ {'x': 'it\\'s', "
    "\"y\": \"q\\\"\"} }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 - 4 }} {{ 'a' ~ 1 ~ none ~ true }} "
    "{{ 1e3 }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 3 * 'ab' }}",
    "{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' in 'cat' }} {{ 3 not in [1, 2] }} {{ not 1 }} {{ 'b' > 'a' "
    "}} {{ [1, 2] < [1, 3] }} {{ none == undefined_thing }}",
    "{{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abc'[-1] }} {{ [1,2,3][1:] }} {{ [1,2,3][-2:] }} {{ (1,2,3)[::2] }} "
    "{{ 'héllo'[1] }} {{ [1,2,3][5] }} {{ 'abc'[5:] }} {{ [0,1,2,3,4][4:1:-2] }}",
    "{{ '  x '|trim }}|{{ 'a,b,c'.split(',') }}|{{ 'a b  c'.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ "
    "'a,b,c'.rsplit(',', 1)[0] }}|{{ 'xxaxx'.strip('x') }}|{{ 'abc'.upper() }}|{{ 'hello wORLD'.title() }}|{{ "
    "'hELLO'|capitalize }}",
    "{{ 'x'.startswith('x') }} {{ 'abc'.endswith(('c', 'd')) }} {{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'|replace('X', "
    "'', 1) }} {{ '-'.join(['a', 'b']) }} {{ ['a', 1]|join(', ') }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ "
    "'abcb'.find('b') }} {{ 'abcb'.count('b') }}",
    "{{ [3,1,2]|length }} {{ 'héé'|length }} {{ [1,2]|first }} {{ [1,2]|last }} {{ none|default('d') }} {{ "
    "''|default('d', true) }} {{ nope|default('d') }} {{ nope|d }} {{ 'abc'|list }} {{ [1,2]|reverse|list }} {{ "
    "-3|abs }} {{ '12'|int + 1 }} {{ 'x'|int }} {{ '1.5'|float }}",
    "{{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} "
    "{{ messages|rejectattr('role', 'eq', 'user')|map(attribute='content')|list }} {{ [1,0,2]|select|list }} {{ "
    "[1,2,3]|select('odd')|list }} {{ ['a','B']|map('upper')|list }}",
    "{{ {'b': [1, {'c': 'é\\n\"'}], 'a': none, 'f': 1.5, 't': true}|tojson }} {{ {'b': [1, []], 'a': {}}"
    "|tojson(indent=2) }} {{ 'x<y>&\\u007f'|tojson }} {{ {'b': 1, 'a': 2}|dictsort }} {{ {'a': 1}|items|list }}",
    "{{ 1 is defined }} {{ x is undefined }} {{ none is none }} {{ 'a' is string }} {{ 1 is number }} {{ {} is mapping "
    "}} {{ [] is iterable }} {{ 'a' is sequence }} {{ true is boolean }} {{ 4 is divisibleby 2 }} {{ 3 is odd }} {{ 1 "
    "is not none }} {{ false is false }} {{ 1.5 is float }} {{ 1 is in [1] }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}block {{ a }}{% endset %}{{ c }}{% set d | upper %}x{{ a }}{% "
    "endset %}{{ d }}{{ 'yes' if a == 1 else 'no' }}{{ 'only' if false }}",
    "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }}{% "
    "endfor %}{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }},{% endfor %}",
    "{{ 'one\ntwo\n\nthree'|indent(2) }}|{{ 'a\nb'|indent(2, true) }} {{ messages[0].get('name', 'nobody') }} {{ "
    "messages[0].keys()|list }} {{ 'a' 'b' }} {{ (1,) }} {{ () }} {{ dict(a=1) }}",
    "{{ '\\u00e9\\x41\\t|' }}{{ \"a'b\" }}{{ ['a\\'b', 'c\"d', '\\n\\x01'] }}{{ 'ab'.lstrip('a') }}{{ "
    "'abc'.removeprefix('a') }}{%- generation %}gen{% endgeneration %}{{ undefined_variable }}{{ messages[0].nothing "
    "}}",
]

# Filters, statements and methods that templates for tools use.
MORE = [
    "{{ messages | map(attribute='role') | sort | join(',') }} {{ (messages | sort(attribute='content', "
    "reverse=true))[0].role }} {{ ['b', 'A', 'c', 'a'] | sort }} {{ ['b', 'A', 'a'] | sort(case_sensitive=true) }} {{ "
    "messages | sort(attribute='role,content') | map(attribute='content') | list }} {{ [3, 1.5, true, 2] | "
    "sort(reverse=true) }}",
    "{{ messages | map(attribute='role') | unique | list }} {{ ['a', 'A', 'b', 'a'] | unique | list }} {{ ['a', 'A', "
    "'b'] | unique(true) | list }} {{ messages | unique(attribute='role') | map(attribute='content') | list }} {{ [1, "
    "1.0, true, 2] | unique | list }}",
    "{{ (messages | max(attribute='content')).role }} {{ [3, 9, 4] | min }} {{ [3, 9, 4] | max }} {{ ['b', 'A'] | min "
    "}} {{ ['b', 'A'] | max(case_sensitive=true) }}[{{ [] | min }}] {{ [[1, 2], [1, 3]] | max }}",
    "{{ [3, 9, 4] | sum }} {{ [] | sum }} {{ [1, 2.5] | sum(start=10) }} {{ [{'n': 2}, {'n': 3}] | sum('n') }} {{ "
    "[0.1, 0.2, 0.3] | sum }} {{ [true, 2] | sum }}",
    "{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 42 | round }} {{ 42.55 | round(1, 'floor') }} {{ "
    "42.21 | round(1, 'ceil') }} {{ 1234 | round(-2) }} {{ 1250.0 | round(-2) }} {{ -0.4 | round }} {{ 1e20 | "
    "round(3) }} {{ 7 | round(2, 'floor') }}",
    "{{ 'x' | int(default=99) }} {{ '3.7' | float | round(1) }} {{ '12' | int + 1 }} {{ 'y' | float(default=1.5) }} {{ "
    "'12.9' | int }} {{ ' -7 ' | int }} {{ '+7' | int }} {{ 'ff' | int(0, 16) }} {{ none | int(5) }} {{ [] | int }} "
    "{{ 3.99 | int }} {{ true | int }} {{ '1e3' | int }} {{ none | float }}",
    "{% for role, items in messages | groupby('role') %}{{ role }}:{{ items | length }};{% endfor %}{% for g in "
    "messages | groupby('role') %}{{ g.grouper }}={{ g.list | map(attribute='content') | list }}{% endfor %}{% for k, "
    "v in [{'a': 'x'}, {}, {'a': 'X'}] | groupby('a', default='none') %}{{ k }}{{ v | length }}{% endfor %}",
    "{{ '%s-%03d' | format('a', 7) }} {{ messages[0].content | wordcount }} {{ '%s!' % messages[0].role }} {{ "
    "'%5.2f|%-5s|%5s|%x|%e|%g' % (3.14159, 'ab', 'cd', 255, 12345.678, 0.0001) }} {{ '%(a)s %(b)05.1f%%' | "
    "format(a='x', b=2) }} {{ '%c%c%r' % (65, 'b', 'q') }} {{ '%+d % d %05d' % (3, 4, -5) }} {{ '%.2s' % 'äöü' }} {{ "
    "'%*d' % (5, 3) }} {{ '%s' % [1, 2] }} {{ '%d' % 3.9 }}",
    "{{ 'ab' | center(7) }}|{{ 'ab'.center(7, '*') }}|{{ 'abc'.center(8) }}|{{ 'x'.ljust(3) }}|{{ 'x'.rjust(3, '0') }}"
    "|{{ '-7'.zfill(4) }}|{{ 'é'.zfill(3) }}|{{ 'a\tb\n\tc'.expandtabs(4) }}|",
    "{{ range(7) | batch(3) | list }} {{ range(7) | batch(3, 'x') | list }} {{ range(7) | slice(3) | list }} {{ "
    "range(7) | slice(3, '-') | list }} {{ range(6) | slice(3, '-') | list }} {{ [] | batch(2) | list }}",
    "{{ {'b': 1, 'A': 2, 'c': 0} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'A': 2, 'c': 0} | "
    "dictsort(by='value', reverse=true) }} {{ {'b': 1} | dictsort(false, 'value') }}",
    "{{ 'The quick brown fox jumps' | truncate(9) }}|{{ 'The quick brown fox jumps' | truncate(9, true) }}|{{ 'The "
    "quick brown' | truncate(11, leeway=4) }}|{{ 'The quick brown fox' | truncate(10, false, '…', 0) }}|{{ 'short' | "
    "truncate(9) }}",
    "{{ \"it's a well-known (fact) [x] straße\" | title }} {{ \"it's they're\".title() }} {{ 'straße ﬁn' | upper }} {{ "
    "'straße'.capitalize() }} {{ 'ßx'.capitalize() }} {{ 'ΟΔΥΣΣΕΥΣ ΣΑΣ Σ'.lower() }} {{ 'İI' | lower }} {{ "
    "'aBc'.swapcase() }}",
    "{{ -0.0 | tojson }} {{ -0.0 }} {{ -(0.0) }} {{ 0.0 | abs }} {{ (-0.0) | abs }} {{ -1 }} {{ - 2.5 }} {{ +3 }} {{ "
    "-true }} {{ 0.0 == -0.0 }}",
    "{{ {'b': 1, 'a': [1, 2]} | tojson(separators=(',', ':')) }} {{ messages[-1].content | tojson(ensure_ascii=true) }}"
    " {{ 'é👍\x7f\u2028' | tojson(true) }} {{ {'a': [1, {}]} | tojson(indent='\t') }} {{ [1, [2]] | tojson(indent=0) }}"
    " {{ {'b': 1, 'a': {'d': 2, 'c': 3}} | tojson(sort_keys=true) }} {{ [1, 2] | tojson(false, 2, ('; ', ' = ')) }}",
    "{% for m in messages %}{% generation %}{% set x = 1 %}{{ m.role }}{{ x }}{% endgeneration %}[{{ x }}]{% endfor %}"
    "{% set y = 2 %}{% generation %}{{ y }}{% set y = 3 %}{{ y }}{% endgeneration %}{{ y }}",
    "{% with a = 1, b = a %}{{ a }}[{{ b }}]{% set c = 5 %}{% endwith %}[{{ a }}{{ c }}]{% with %}{% set d = 1 %}{{ d "
    "}}{% endwith %}{{ d }}{% set a = 7 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}",
    "{% filter upper %}hello {{ messages[0].role }}{% set q = 1 %}{% endfilter %}{{ q }}{% filter trim | replace('a', "
    "'b') %}  banana {% endfilter %}|{% filter indent(2, true) %}a\nb{% endfilter %}",
    "{% macro box(t) %}<{{ t }}:{{ caller() }}>{% endmacro %}{% call box('x') %}in {{ messages[0].role }}{% endcall %}"
    "{% macro each(l) %}{% for i in l %}{{ caller(i, i * 2) }};{% endfor %}{% endmacro %}{% call(a, b=9) each([1, 2]) "
    "%}{{ a }}-{{ b }}{% endcall %}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, a=3) }}{% macro g(a, b) %}{{ a }}{{ b }}{% "
    "endmacro %}{{ g(*[1, 2]) }}{{ g(**{'a': 3, 'b': 4}) }}{{ g(5, **{'b': 6}) }}{% macro h() %}{% if caller %}y{% "
    "else %}n{% endif %}{% endmacro %}{{ h() }}",
    "{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}{% set s %}{% set t = 4 %}{{ t }}{% "
    "endset %}{{ s }}{{ t }}",
    "{% for n in [{'v': 1, 'c': [{'v': 2}, {'v': 3, 'c': [{'v': 4}]}]}] recursive %}{{ n.v }}@{{ loop.depth }}{% if "
    "n.c %}({{ loop(n.c) }}){% endif %}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ x if loop.changed(x) else '-' }}{{ loop.depth0 }}{% endfor %}",
    "{{ 'a b  c'.split(none, 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a-b-c'.partition('-') }} {{ "
    "'a-b-c'.rpartition('-') }} {{ 'abc'.partition('x') }} {{ 'abcb'.rfind('b') }} {{ 'abcb'.index('b') }} {{ "
    "'abcb'.find('b', 2) }} {{ 'ééb'.find('b', -1) }} {{ 'aaa'.count('a', 1) }} {{ 'a\x0bb\u2028c\n'.splitlines() }} "
    "{{ 'a\r\nb'.splitlines(true) }} {{ ''.splitlines() }}",
    "{{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ '1²'.isdigit() }} {{ '1²'.isdecimal() }} {{ ' "
    "\n'.isspace() }} {{ ''.isspace() }} {{ 'Ab Cd'.istitle() }} {{ 'AB1'.isupper() }} {{ 'ab'.islower() }} {{ "
    "'1'.isupper() }} {{ 'é'.isascii() }} {{ ''.isascii() }} {{ ''.isdigit() }}",
    "{{ '{} {}'.format(1, 'x') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{n:>5}|{n:<5}|{n:^5}|{n:05d}'.format(n=42) }} "
    "{{ '{:.2f} {:,} {:+d} {:x} {:#x} {:%}'.format(3.14159, 1234567, 5, 255, 255, 0.25) }} {{ '{a[0]} {a[1]} "
    "{d[k]}'.format(a=[1, 2], d={'k': 'v'}) }} {{ '{!r} {{}}'.format('q') }} {{ '{:*^9}'.format('mid') }} {{ '{:{w}}"
    "|'.format('x', w=4) }} {{ '{:.3}'.format('abcdef') }}",
    "{{ [1, 2].copy() }} {{ {'a': 1}.copy() }} {{ messages[0] | attr('role') | default('none') }} {{ [1, [2, 3]] | "
    "string }} {{ 'abc' | reverse }} {{ ['a', 'b'] | map('center', 3) | list }} {{ messages | "
    "map(attribute='nothing', default='-') | join }}",
    "{{ ['a\\u00a0b', '\\u2028', '\\u200b', 'é👍', '\\U000e0001', '\\x7f'] }} {{ '%r' % '\\u00ad' }}",
    "{{ ' a b '.split(none, 1) }}",
    "{% set comma = joiner() %}{% for i in range(3) %}{{ comma() }}{{ i }}{% endfor %} {{ ['inf' | float, '-inf' | "
    "float] | tojson }} {{ 'nan' | float | tojson }}",
    "{{ 3 | sort }}", "{{ [1, 'a'] | sort }}", "{{ 'abc'.index('x') }}", "{{ '%d' % 'x' }}",
    "{{ '%s %s' % ('a',) }}", "{{ '{} {}'.format(1) }}",
    "{% macro m() %}{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{{ [1] | round }}",
]

SYSTEM = {"role": "system", "content": "  Be brief.\n"}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}],
    [SYSTEM, {"role": "user", "content": " What's 2+2? \n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb "},
     {"role": "user", "content": "c\n\"quoted\" é 👍 <|im_end|> {{ x }}"}],
    [SYSTEM, {"role": "user", "content": ""}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "d"},
     {"role": "assistant", "content": "e"}],
    [{"role": "assistant", "content": "out of turn"}, {"role": "user", "content": "x"}],
]


def compare(template, directory):
    save(tiny_tokenizer(), directory, bos_token="<s>", eos_token="</s>", chat_template=template)
    oracle = transformers.AutoTokenizer.from_pretrained(directory)
    cases = [(messages, prompt) for messages in CONVERSATIONS for prompt in (True, False)]
    answers = Tool(directory).run([dict(op="chat", messages=m, add_generation_prompt=p) for m, p in cases])
    for (messages, prompt), answer in zip(cases, answers, strict=True):
        try:
            expected = oracle.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        except Exception as error:
            assert str(error).split("/")[0][:40] in answer.get("error", ""), (answer, error)
        else:
            assert answer == {"text": expected}


@pytest.mark.parametrize("template", MORE, ids=range(len(MORE)))
def test_more(template, tmp_path):
    """What jinja2 refuses, rondo refuses too; the words differ."""
    save(tiny_tokenizer(), tmp_path, bos_token="<s>", eos_token="</s>", chat_template=template)
    oracle = transformers.AutoTokenizer.from_pretrained(tmp_path)
    answers = Tool(tmp_path).run([dict(op="chat", messages=m) for m in CONVERSATIONS])
    for messages, answer in zip(CONVERSATIONS, answers, strict=True):
        try:
            expected = oracle.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception:
            assert "error" in answer, answer
        else:
            assert answer == {"text": expected}


def tiny_tokenizer():
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    tokenizer.add_special_tokens([special("<s>"), special("</s>")])
    return tokenizer


@pytest.mark.parametrize("file", TEMPLATES, ids=[file.stem for file in TEMPLATES])
def test_family_template(file, tmp_path):
    compare(file.read_text(), tmp_path)


@pytest.mark.parametrize("template", LANGUAGE, ids=range(len(LANGUAGE)))
def test_language(template, tmp_path):
    compare(template, tmp_path)


def test_template_file_wins(tmp_path):
    save(tiny_tokenizer(), tmp_path, chat_template="config")
    (tmp_path / "chat_template.jinja").write_text("file\n")
    assert Tool(tmp_path).ask(op="chat", messages=CONVERSATIONS[0]) == {"text": "file"}


def test_named_templates(tmp_path):
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "{{ messages[0].content }}"}]
    save(tiny_tokenizer(), tmp_path, chat_template=named)
    assert Tool(tmp_path).ask(op="chat", messages=CONVERSATIONS[0]) == {"text": "Hi"}
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["chat_template"] == named


@pytest.mark.parametrize("others", [["tool_use", "rag"], ["only"]])
def test_named_templates_without_a_default(others, tmp_path):
    """transformers lists the names, and so does rondo."""
    save(tiny_tokenizer(), tmp_path, chat_template=[{"name": n, "template": n} for n in others])
    with pytest.raises(ValueError, match="no default"):
        transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(CONVERSATIONS[0], tokenize=False)
    error = Tool(tmp_path).ask(op="chat", messages=CONVERSATIONS[0])["error"]
    assert "default" in error and all(name in error for name in others)
