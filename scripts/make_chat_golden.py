#!/usr/bin/env python3
"""Regenerates tests/golden/chat_templates/*.json: conversations rendered by Jinja as Hugging Face transformers does
(apply_chat_template: trim_blocks, lstrip_blocks, raise_exception), with the templates in published tokenizer_config.json
files. A leading BOS is cut off, because the tokenizer adds it. Needs the package jinja2 (tested with 3.1.6).
Usage: scripts/make_chat_golden.py tests/golden/chat_templates
"""
import json
import pathlib
import sys

import jinja2.sandbox

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
          " + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
SMOLLM2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
           "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
           "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
           "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
         "You are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
         "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
         "{{ '<|im_start|>assistant\n' }}{% endif %}")
QWEN2_5 = ("{%- if messages[0]['role'] == 'system' %}\n        {{- '<|im_start|>system\\n' + messages[0]['content'] + "
           "'<|im_end|>\\n' }}\n    {%- else %}\n        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. "
           "You are a helpful assistant.<|im_end|>\\n' }}\n    {%- endif %}\n{%- for message in messages %}\n    "
           "{%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) or "
           "(message.role == \"assistant\" and not message.tool_calls) %}\n        {{- '<|im_start|>' + message.role + "
           "'\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
           "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
          "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
          "{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
          "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + "
          "'\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
          "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
          "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
          "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
# The parts of Llama-3.1-8B-Instruct's template that act without tools.
LLAMA3_1 = ("{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = \"26 Jul 2024\" %}\n"
            "{%- endif %}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = "
            "messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    "
            "{%- set system_message = \"\" %}\n{%- endif %}\n{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n"
            "{{- \"Cutting Knowledge Date: December 2023\\n\" }}\n{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n"
            "{{- system_message }}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n        "
            "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + "
            "'<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    "
            "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n")
MISTRAL = ("{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n    "
           "{%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n\n"
           "{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if (message['role'] == 'user') != "
           "(loop.index0 % 2 == 0) %}\n        {{- raise_exception('After the optional system message, conversation roles "
           "must alternate user/assistant/user/assistant/...') }}\n    {%- endif %}\n    {%- if message[\"role\"] == "
           "\"user\" %}\n        {%- if loop.first and system_message is defined %}\n            {{- \" [INST] \" + "
           "system_message + \"\\n\\n\" + message[\"content\"] + \" [/INST]\" }}\n        {%- else %}\n            "
           "{{- \" [INST] \" + message[\"content\"] + \" [/INST]\" }}\n        {%- endif %}\n    {%- elif message[\"role\"]"
           " == \"assistant\" %}\n        {{- \" \" + message[\"content\"] + eos_token}}\n    {%- else %}\n        "
           "{{- raise_exception(\"Only user and assistant roles are supported, with the exception of an initial optional "
           "system message!\") }}\n    {%- endif %}\n{%- endfor %}\n")
MISTRAL_OLD = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
               "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
               "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif "
               "message['role'] == 'assistant' %}{{ message['content'] + eos_token@}}{% else %}{{ raise_exception("
               "'Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")
MISTRAL_V03 = ("{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n    "
               "{%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n"
               "{%- endif %}\n{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n"
               "{%- set user_messages = loop_messages | selectattr(\"role\", \"equalto\", \"user\") | list %}\n\n"
               "{%- set ns = namespace() %}\n{%- set ns.index = 0 %}\n{%- for message in loop_messages %}\n    "
               "{%- if not (message.role == \"tool\" or message.role == \"tool_results\" or (message.tool_calls is defined "
               "and message.tool_calls is not none)) %}\n        {%- if (message[\"role\"] == \"user\") != (ns.index % 2 == "
               "0) %}\n            {{- raise_exception(\"After the optional system message, conversation roles must "
               "alternate user/assistant/user/assistant/...\") }}\n        {%- endif %}\n        {%- set ns.index = "
               "ns.index + 1 %}\n    {%- endif %}\n{%- endfor %}\n\n{{- bos_token }}\n{%- for message in loop_messages "
               "%}\n    {%- if message[\"role\"] == \"user\" %}\n        {%- if tools is not none and (message == "
               "user_messages[-1]) %}\n            {{- \"[AVAILABLE_TOOLS] [\" }}\n            {{- \"[/AVAILABLE_TOOLS]\""
               " }}\n        {%- endif %}\n        {%- if loop.last and system_message is defined %}\n            "
               "{{- \"[INST] \" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n        {%- else "
               "%}\n            {{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n    "
               "{%- elif message[\"role\"] == \"assistant\" %}\n        {{- \" \" + message[\"content\"]|trim + "
               "eos_token}}\n    {%- else %}\n        {{- raise_exception(\"Only user and assistant roles are supported, "
               "with the exception of an initial optional system message!\") }}\n    {%- endif %}\n{%- endfor %}\n")
PHI3 = ("{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + "
        "'<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif "
        "message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
GEMMA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
         "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
         "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
         "{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}")
ZEPHYR = ("{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
          "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
          "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
          "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}")

NANO = json.loads((pathlib.Path(__file__).parent.parent / "models/nano/hf/tokenizer_config.json").read_text())

TEMPLATES = [  # name for --template, model it comes from, BOS, EOS, source
    ("chatml", "OpenHermes-2.5-Mistral-7B", "<s>", "<|im_end|>", CHATML),
    ("chatml", "models/nano", "<s>", "</s>", NANO["chat_template"]),
    ("smollm2", "SmolLM2-135M-Instruct", "<|im_start|>", "<|im_end|>", SMOLLM2),
    ("qwen2", "Qwen2-7B-Instruct", "", "<|im_end|>", QWEN2),
    ("qwen2.5", "Qwen2.5-7B-Instruct, without its tools branch", "", "<|im_end|>", QWEN2_5),
    ("llama-2", "Llama-2-7b-chat-hf", "<s>", "</s>", LLAMA2),
    ("llama-3", "Meta-Llama-3-8B-Instruct", "<|begin_of_text|>", "<|eot_id|>", LLAMA3),
    ("llama-3.1", "Llama-3.1-8B-Instruct, without its tools branches", "<|begin_of_text|>", "<|eot_id|>", LLAMA3_1),
    ("mistral", "Mistral-7B-Instruct-v0.2", "<s>", "</s>", MISTRAL),
    ("mistral-v0.1", "Mistral-7B-Instruct-v0.1", "<s>", "</s>", MISTRAL_OLD.replace("@", " + ' '")),
    ("mistral-v0.2-first", "Mistral-7B-Instruct-v0.2 as first published", "<s>", "</s>", MISTRAL_OLD.replace("@", "")),
    ("mistral-v0.3", "Mistral-7B-Instruct-v0.3, without its tool calls", "<s>", "</s>", MISTRAL_V03),
    ("phi-3", "Phi-3-mini-4k-instruct", "<s>", "<|endoftext|>", PHI3),
    ("gemma", "gemma-7b-it", "<bos>", "<eos>", GEMMA),
    ("zephyr", "zephyr-7b-beta", "<s>", "</s>", ZEPHYR),
]

S, U, A = "system", "user", "assistant"
CONVERSATIONS = [
    [(U, "Hello")],
    [(S, "Be brief."), (U, "Hello")],
    [(U, "Hello"), (A, "Hi there"), (U, "Who are you?")],
    [(S, "You are a helpful assistant"), (U, "Hello"), (A, "Hi there"), (U, "Who are you"),
     (A, "   I am an assistant   "), (U, "Another question")],
    [(S, "  spaces\t"), (U, "\n around \u3000"), (A, "\u00a0kept or not\u2003\x1f"), (U, "ends in newline\n")],
    [(S, "sys"), (U, " \n ")],
    [(U, "")],
    [(U, "caf\u00e9 \u4f60\u597d \U0001f600 {{ x }} {% y %} 'quoted' \"too\" \\n"), (A, "</s><|im_end|>[/INST]")],
    [(U, "one"), (U, "two")],
    [(A, "first")],
    [(U, "q"), (A, "a")],
]


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def raise_exception(message):
        raise jinja2.TemplateError(message)
    env.globals["raise_exception"] = raise_exception
    return env


def main():
    out = pathlib.Path(sys.argv[1])
    env = environment()
    for index, (name, model, bos, eos, source) in enumerate(TEMPLATES):
        template = env.from_string(source)
        cases = []
        for conversation in CONVERSATIONS:
            messages = [{"role": r, "content": c} for r, c in conversation]
            for generate in (True, False):
                case = {"messages": messages, "add_generation_prompt": generate}
                try:
                    text = template.render(messages=messages, add_generation_prompt=generate, bos_token=bos, eos_token=eos)
                    case["text"] = text[len(bos):] if bos and text.startswith(bos) and "bos_token" in source else text
                except jinja2.TemplateError as e:
                    case["error"] = str(e)
                cases.append(case)
        document = {"source": f"chat_template of {model}, rendered by Jinja {jinja2.__version__} "
                              "(scripts/make_chat_golden.py)", "name": name, "template": source, "cases": cases}
        path = out / f"{index:02d}-{name}.json"
        path.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")


main()
