"""Runs the example of deploy/compose/compose.ollama.yaml without containers: the OpenAI SDK, as deploy/compose/ollama/chat.py
calls it, against a keygate with the example's own settings, in front of a small service that answers as ollama does.

    sdk.py KEYGATE
"""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

EXAMPLE = pathlib.Path(__file__).parents[2] / "deploy/compose"
TOKEN = "sdk-example-token-0123456789-0123456789"
PIECES = ["Because ", "of ", "scattering."]


class Ollama(http.server.BaseHTTPRequestHandler):
    """`/v1/chat/completions`, whole and streamed."""

    protocol_version = "HTTP/1.1"
    seen = []
    # Set by who has read the first piece of a stream: the second one is held back until then.
    first_piece_read = threading.Event()

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if not body.get("stream"):
            return self.answer({"choices": [{"index": 0, "finish_reason": "stop",
                                             "message": {"role": "assistant", "content": "".join(PIECES)}}]})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for index, piece in enumerate(PIECES):
            if index == 1 and not self.first_piece_read.wait(10):
                return None
            event = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": piece}}]}
            self.chunk(f"data: {json.dumps(event)}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.chunk("")
        return None

    def chunk(self, text):
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def answer(self, value):
        text = json.dumps({"object": "chat.completion", **value}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def start_keygate(binary, folder, upstream):
    (folder / "secret").write_text(TOKEN + "\n")
    keys = (EXAMPLE / "keys/keys.yaml").read_text().replace("/run/secrets/first_token", str(folder / "secret"))
    (folder / "keys.yaml").write_text(keys)
    # The example's settings as they are; what a container gives is given by variables.
    environment = {
        "KEYGATE_LISTEN": "127.0.0.1:0", "KEYGATE_UPSTREAM": upstream, "KEYGATE_KEYS_FILE": str(folder / "keys.yaml"),
        "KEYGATE_DATA_DIR": str(folder / "data"), "KEYGATE_ADMIN_LISTEN": "127.0.0.1:0",
        "KEYGATE_TELEMETRY_LISTEN": "none",
    }
    log = folder / "log"
    keygate = subprocess.Popen([binary, "run", "--config", EXAMPLE / "ollama/keygate.yaml"], env=environment,
                               stdout=subprocess.DEVNULL, stderr=log.open("w"))
    for _ in range(600):
        found = re.search(r"listening on (http://\S+)\n", log.read_text())
        if found:
            return keygate, found[1]
        if keygate.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(log.read_text())


def chat(address, token, first=None):
    """What chat.py prints; `first` is called once it has printed the first piece of the stream."""
    script = subprocess.Popen(
        [sys.executable, EXAMPLE / "ollama/chat.py", "Why", "is", "the", "sky", "blue?"],
        env={"PATH": os.environ["PATH"], "OPENAI_API_KEY": token, "OPENAI_BASE_URL": f"{address}/v1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    printed = b""
    while piece := os.read(script.stdout.fileno(), 1000):
        printed += piece
        if first and printed.decode().endswith(f"\n{PIECES[0]}"):
            first()
    return printed.decode(), script.stderr.read().decode(), script.wait()


def expect(holds, what):
    if not holds:
        raise SystemExit(f"sdk: {what}")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream = f"127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        keygate, address = start_keygate(sys.argv[1], pathlib.Path(folder), f"http://{upstream}")
        try:
            printed, errors, code = chat(address, TOKEN, Ollama.first_piece_read.set)
            whole = "".join(PIECES)
            expect(code == 0 and printed == f"{whole}\n{whole}\n", f"chat.py: {code}, {printed!r}, {errors}")
            expect(Ollama.first_piece_read.is_set(), "the stream came in one piece")
            expect(len(Ollama.seen) == 2, f"{len(Ollama.seen)} requests instead of 2")
            for path, head, body in Ollama.seen:
                expect(path == "/v1/chat/completions" and body["messages"][0]["content"] == "Why is the sky blue?", "other requests")
                expect(head["host"] == upstream, f"the Host is {head['host']}")
                expect(TOKEN not in str(head), "ollama has seen the token")
                expect(head["x-keygate-key-name"] == "first", "ollama is not told whose key it is")
            printed, errors, code = chat(address, "another-token-0123456789")
            expect(code and "AuthenticationError" in errors and "401" in errors, f"a wrong token: {code}, {errors}")
            expect(len(Ollama.seen) == 2, "a request with a wrong token has reached ollama")
        finally:
            keygate.terminate()
            keygate.wait()
    print("the SDK's calls pass, whole and streamed; a wrong token does not")


if __name__ == "__main__":
    main()
