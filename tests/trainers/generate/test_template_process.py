"""The process of a chat template: the same text as transformers renders, and no template that stops, fills or leaves this process."""

from __future__ import annotations

import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from empg_gym.errors import AgentError, ConfigError
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.generate.chat import ChatCodec
from empg_gym.trainers.generate.template_process import TemplateProcess
from empg_gym.trainers.policy.models import load_model
from tests.trainers.generate.hostile_templates import HOSTILE, LOOPS
from tests.trainers.generate.worlds import texts

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CHATML = """{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""
THOUGHTS = """{{ bos_token }}{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m['role'] == 'user' %}
{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{% for m in messages %}
  {% if m.role == 'assistant' and '</think>' in m.content and loop.index0 < ns.last %}
    {% set content = m.content.split('</think>')[-1].lstrip('\\n') %}
  {% else %}{% set content = m.content %}{% endif %}
  {% generation %}[{{ m.role | upper }}] {{ content | trim }}{{ eos_token }}{% endgeneration %}
  {% if loop.last %}{% break %}{% endif %}
{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}
{{ {'a': '<é>', 'b': dict(x=1)} | tojson(indent=2) }}{% if add_generation_prompt %}[A]{% endif %}"""
TEMPLATES = [
    CHATML,
    THOUGHTS,
    "{{ messages | tojson }}{{ messages | length }}{{ documents is none }}",
    "{% for m in messages %}{{ m.content[:3] }}{% endfor %}",
]
CHAT = [
    {"role": "user", "content": "Hi \udc80 <b>&é\n"},
    {"role": "assistant", "content": "<think>x</think>\nHo"},
    {"role": "user", "content": ""},
]


@pytest.fixture(scope="module", params=range(len(TEMPLATES)))
def pair(request):
    text = TEMPLATES[request.param]
    template = TemplateProcess(text, TOKENS)
    yield template, text
    template.close()


def reference(text, messages, prompt):
    rendered, _ = render_jinja_template([messages], chat_template=text, add_generation_prompt=prompt, **TOKENS)
    return rendered[0]


MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.text(max_size=40)}),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(messages=MESSAGES, prompt=st.booleans())
def test_the_text_is_that_of_transformers(pair, messages, prompt):
    template, text = pair
    assert template.render(messages, add_generation_prompt=prompt) == reference(text, messages, prompt)


def test_surrogates_survive(pair):
    template, text = pair
    assert template.render(CHAT, add_generation_prompt=True) == reference(text, CHAT, True)


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_template_takes_more_than_its_time(kind):
    """CPU seconds of the child processes are counted, since a wall clock depends on the machine's other work."""
    template = TemplateProcess("{% if messages | length > 1 %}" + HOSTILE[kind] + "{% endif %}fine", {}, seconds=0.5)
    assert template.render(CHAT[:1], add_generation_prompt=False) == "fine"
    before = os.times()
    with pytest.raises((ConfigError, AgentError)) as failure:
        template.render(CHAT, add_generation_prompt=False)
    assert "chat template" in str(failure.value)
    template.close()
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5
    assert template.render(CHAT[:1], add_generation_prompt=False) == "fine", "the next rendering has a new process"
    template.close()


@pytest.mark.parametrize(
    "fill",
    ["{% set n = messages | length * 4000000000 %}{{ 'a' * n }}", "{% set x = 'a' * 40000000 %}{{ x }}", "{{ 'a' | center(3000000000) }}"],
)
def test_no_template_fills_the_memory(fill):
    template = TemplateProcess(fill, {})
    with pytest.raises(AgentError, match=r"memory|more than .* characters"):
        template.render(CHAT[:1], add_generation_prompt=False)
    template.close()


@pytest.mark.parametrize(
    "attempt",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ dict.__class__.__base__.__subclasses__() }}",
        "{% set ns = namespace(__class__=1) %}{{ ns }}",
        "{{ messages.append({}) }}",
        "{{ ('%s' | format)(1).__class__ }}",
    ],
)
def test_no_template_leaves_the_sandbox(attempt, monkeypatch):
    monkeypatch.setenv("SECRET_API_KEY", "sk-1234567890")
    template = TemplateProcess("[" + attempt + "]", {})
    try:
        text = template.render(CHAT[:1], add_generation_prompt=False)
    except AgentError:
        text = ""
    template.close()
    assert "sk-1234567890" not in text and "uid=" not in text and "type" not in text


def test_the_process_knows_no_secret_of_this_one(monkeypatch):
    monkeypatch.setenv("SECRET_API_KEY", "sk-1234567890")
    template = TemplateProcess("x", {})
    template.render(CHAT[:1], add_generation_prompt=False)
    with open(f"/proc/{template._process.pid}/environ", "rb") as file:  # noqa: PTH123
        assert b"sk-1234567890" not in file.read()
    template.close()


def test_a_template_that_refuses_fails_the_episode_alone():
    template = TemplateProcess("{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}ok", {})
    with pytest.raises(AgentError, match="one message only"):
        template.render(CHAT, add_generation_prompt=True)
    assert template.render(CHAT[:1], add_generation_prompt=True) == "ok"
    template.close()


def test_a_template_that_is_no_template_is_a_mistake_of_the_folder():
    with pytest.raises(ConfigError, match=r"can't be read .*TemplateSyntaxError"):
        TemplateProcess("{% for %}", {}).render(CHAT, add_generation_prompt=True)


def test_the_process_ends_with_the_template():
    template = TemplateProcess("x", {})
    template.render(CHAT, add_generation_prompt=True)
    process = template._process
    copy = pickle.loads(pickle.dumps(template))
    del template
    assert process.poll() is not None
    assert copy.render(CHAT, add_generation_prompt=True) == "x"
    copy.close()


def test_a_process_that_was_killed_is_replaced():
    template = TemplateProcess("x", {})
    template.render(CHAT, add_generation_prompt=True)
    template._process.kill()
    with pytest.raises(ConfigError):
        template.render(CHAT, add_generation_prompt=True)
    assert template.render(CHAT, add_generation_prompt=True) == "x"
    template.close()


def test_a_looping_template_of_a_checkpoint_is_found_while_loading():
    _, tokenizer = load_model(from_scratch=FromScratch(width=32), tokenizer_texts=texts())
    tokenizer.chat_template = LOOPS
    before = os.times()
    with pytest.raises(ConfigError, match="did not end within 2 s"):
        ChatCodec(tokenizer)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 10
