"""Chat templates that behave like those of common models on conversations without tools, in a few lines each.

`test_chat_template.py` compares them with the originals where TRL, which ships these, is installed.
"""

CHATML = "<|im_start|>", "<|im_end|>"
"""Tokens of the Qwen family."""
QWEN25 = (
    "{%- if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_FORGETFUL = (
    "{%- set last = namespace(user=-1) %}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{%- for m in messages %}{% set content = m.content TRIM %}"
    "{%- if m.role == 'assistant' %}{% set thought = '' %}"
    "{%- if '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') TRIM %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{%- if loop.index0 > last.user %}"
    "{% set content = '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') %}{% endif %}"
    "{%- endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}OPENING{% endif %}{% endif %}"
)
QWEN3 = _FORGETFUL.replace(" TRIM", "").replace("OPENING", "")
"""Drops the thoughts of responses before the last user message."""
QWEN35 = _FORGETFUL.replace("TRIM", "| trim").replace("OPENING", "{% else %}{{ '<think>\n' }}")
"""The same; the prompt opens the thought."""
LLAMA32 = (
    "{{- bos_token }}"
    "{%- if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' + date_string + '\n\n' }}"
    "{{- system + '<|eot_id|>' }}"
    "{%- for m in messages %}"
    "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""Prints today's date."""
MACRO = (
    "{%- macro system() %}{{ 'Current date: ' + strftime_now('%Y-%m-%d') }}{% endmacro %}"
    "{{- '<|start|>' + system() }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
)
"""Prints today's date in a macro, as gpt-oss does."""
