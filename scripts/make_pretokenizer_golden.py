#!/usr/bin/env python3
"""Regenerates tests/golden/pretokenizers/splits.json: words that the documented regular expressions cut, found by the
Python package regex (tested with 2026.11.15), an engine that shares nothing with Thimble's scanners.
The expressions are those of llama.cpp v0.5.0, src/llama-vocab.cpp, for each tokenizer.ggml.pre.
Usage: scripts/make_pretokenizer_golden.py tests/golden/pretokenizers/splits.json
"""
import json
import sys

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943")
# llama.cpp shows expressions without categories a text whose non-ASCII white space is U+000B: no class with code points
# matches it there. Hence the lookahead here, and U+3001 instead of U+3000 at the start of DeepSeek's last range.
CJK = r"(?:(?!\s)[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff])+"
# \Z stands for the ECMAScript $ at the end of the input.
EXPRESSIONS = {
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "gpt-2": [GPT2],
    "mpt": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "refact": [r"\p{N}", GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-llm": ["[\r\n]", r"\s?[" + DEEPSEEK_LETTERS + "]+",
                     r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001\u3002]+", r"\s+\Z", CJK, r"\p{N}+"],
}
TEXTS = [
    "", " ", "  ", "   x", "x   ", "\n", "\n\n\n", " \n \n x", "a\r\nb\r\n\r\nc", "\t\tint x = 0;\t// y",
    "Hello, y'all! How are you? I'LL we'Re it's I'd 'tis 'S ''s", "don't can't 've 'VE 'v 're",
    "1", "12", "123", "1234", "12345678 90", "3.14159,265", "a1b22c333d4444", "x\u00b2 \u00bd \u2167 \u0663\u0664\u0665 \u096b\u096c",
    "!!! ?! ... -- --- ``code`` $5 +1 <b>=</b> ^x ~y |z", "#include <a.h>\n#define X(a) ((a)+1)\n",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u1e9e\u00df \u0130\u0131", "e\u0301 o\u0308\u0323 \u0301\u0301 x\u0301y",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002123\u4e2d\u6587abc", "\u3042\u3044\u3046 \u30ab\u30bf\u30ab\u30ca \ud55c\uad6d\uc5b4 123",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438", "\u1780\u17b6\u1793\u17cb\u178f\u17c2 \u0e01\u0e47 \u0915\u094d\u0937",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2705 (only)", "\U00010400\U0001e900\U000118a0",
    "a\u00a0b\u2003c\u2028d\u0085e\u200bf\ufeffg", "\u2018q\u2019 \u201cq\u201d \u00ab\u00bb \u2026 \u2014", "\x00\x01\x1c\x7f",
    "\u0294 \u01bb \u01c0 \u02b0 \u10d0 \u1c90 \u13a0 \uab70 \ufb01 \uff21\uff41\uff10", "    if x:\n        return  y\n\n\n",
    " leading and trailing  \n", "https://example.org/a?b=c&d=%20#e", "{\"key\": [1, 2.5e-3, null]}",
]


def split(expressions, text):
    pieces = [text] if text else []
    for expression in expressions:
        result = []
        for piece in pieces:
            done = 0
            for match in regex.finditer(expression, piece):
                if match.start() > done:
                    result.append(piece[done:match.start()])
                result.append(match.group())
                done = match.end()
            if done < len(piece):
                result.append(piece[done:])
        pieces = result
    return pieces


def main():
    document = {"source": f"Python regex {regex.__version__} on the expressions of llama.cpp v0.5.0 src/llama-vocab.cpp "
                          "(scripts/make_pretokenizer_golden.py)", "texts": TEXTS,
                "splits": {name: [split(e, t) for t in TEXTS] for name, e in EXPRESSIONS.items()}}
    with open(sys.argv[1], "w") as f:
        f.write(json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace("]],", "]],\n") + "\n")


main()
