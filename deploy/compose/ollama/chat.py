#!/usr/bin/env python3
"""Asks a model behind keygate with the OpenAI SDK, once for a whole answer and once for a stream.

OPENAI_API_KEY is a token of keygate; OPENAI_BASE_URL and MODEL have defaults for compose.ollama.yaml.
"""

import os
import sys

import openai

client = openai.OpenAI(base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1"))
model = os.environ.get("MODEL", "llama3.2:1b")
messages = [{"role": "user", "content": " ".join(sys.argv[1:]) or "Hello"}]

answer = client.chat.completions.create(model=model, messages=messages)
print(answer.choices[0].message.content)

for piece in client.chat.completions.create(model=model, messages=messages, stream=True):
    print(piece.choices[0].delta.content or "", end="", flush=True)
print()
