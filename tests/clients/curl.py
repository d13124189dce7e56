"""curl through keygate: in each way of speaking that it is given, heads, ranges, compression, connections that are
used again, uploads that are refused before they are sent, and a GiB each way.
"""

import json
import subprocess
import sys
import tempfile
import time

from common import MIB, blocks, check, given, sha256_of, some

GIVEN = given()
TOKEN = GIVEN["token"]
FILE = some(1_000_000)
GIB = 1024 * MIB


class Way:
    """One way of speaking: a name, curl's arguments for it, where it goes, and which version curl has to report."""

    def __init__(self, name, base, version, *arguments):
        self.name, self.base, self.version, self.arguments = name, base, version, arguments

    def command(self, *arguments):
        common = ["curl", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]
        return [*common, *self.arguments, *arguments]

    def run(self, *arguments, key=TOKEN, code=0, feed=None):
        """What curl wrote, and what it measured."""
        fields = ["-H", f"x-api-key: {key}"] if key else []
        measured = '\n%{json}' if "--parallel" not in arguments else '\n%{http_code}'
        done = subprocess.run(
            self.command("--write-out", measured, *fields, *arguments), input=feed, capture_output=True, check=False
        )
        check(f"{self.name}: curl {arguments}: {done.stderr.decode()}: exit code", done.returncode, code)
        body, _, measured = done.stdout.rpartition(b"\n")
        return body, json.loads(measured)

    def to(self, path):
        return self.base + path


def asks(way):
    body, measured = way.run(way.to("/echo?a=%7e&b"))
    seen = json.loads(body)
    check(f"{way.name}: status", measured["http_code"], 200)
    check(f"{way.name}: version", measured["http_version"], way.version)
    check(f"{way.name}: target", seen["target"], "/echo?a=%7e&b")
    seen = [(name.lower(), value) for name, value in seen["fields"]]
    names = [name for name, _ in seen]
    check(f"{way.name}: the key went on", "x-api-key" in names, False)
    check(f"{way.name}: who it is", ("x-keygate-key-id", "k_good") in seen, True)
    check(f"{way.name}: scheme", ("x-forwarded-proto", way.base.split(":")[0]) in seen, True)

    body, measured = way.run("--include", way.to("/echo"), key=None)
    check(f"{way.name}: no key", measured["http_code"], 401)
    check(f"{way.name}: challenge", b'www-authenticate: apikey realm="keygate"' in body.lower(), True)
    check(f"{way.name}: problem", b'"code":"missing_key"' in body.replace(b" ", b""), True)
    _, measured = way.run(way.to("/echo"), key="kg_nobody-has-this-one")
    check(f"{way.name}: a wrong key", measured["http_code"], 401)


def reads(way):
    head, measured = way.run("--head", way.to("/file"))
    check(f"{way.name}: HEAD", measured["http_code"], 200)
    check(f"{way.name}: HEAD has a length", b"content-length: 1000000" in head.lower(), True)
    for wanted, slices in [("0-99", slice(0, 100)), ("999900-", slice(999_900, None)), ("-7", slice(-7, None))]:
        body, measured = way.run("--range", wanted, way.to("/file"))
        check(f"{way.name}: range {wanted}", measured["http_code"], 206)
        check(f"{way.name}: range {wanted}", body, FILE[slices])
    _, measured = way.run("--range", "2000000-", way.to("/file"))
    check(f"{way.name}: a range behind the end", measured["http_code"], 416)

    plain, _ = way.run(way.to("/compressed"))
    decoded, measured = way.run("--compressed", way.to("/compressed"))
    check(f"{way.name}: decompressed", decoded, plain)
    check(f"{way.name}: it was small on the wire", measured["size_download"] < len(plain) / 10, True)

    for path in ["/bytes/3000000", "/bytes/3000000?chunked"]:
        body, _ = way.run(way.to(path))
        check(f"{way.name}: {path}", sha256_of([body]), sha256_of(blocks(3_000_000)))
    # 18 and 92: an answer that is short, or a stream that was reset.
    for path in ["/broken", "/broken?chunked"]:
        way.run(way.to(path), code=92 if way.version == "2" else 18)


def stays(way):
    """One connection for all, also behind refusals."""
    done = subprocess.run(
        way.command(
            "--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n",
            "-H", f"x-api-key: {TOKEN}", way.to("/echo/[1-3]"),
            "--next", "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n",
            *way.arguments, way.to("/echo/refused"),
            "--next", "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n",
            *way.arguments, "-H", f"x-api-key: {TOKEN}", way.to("/echo/behind"),
        ),
        capture_output=True, check=True,
    )  # fmt: skip
    lines = done.stdout.decode().split("\n")[:-1]
    check(f"{way.name}: on one connection", lines, ["200 1", "200 0", "200 0", "401 0", "200 0"])
    done = subprocess.run(
        way.command(
            "--parallel", "--parallel-max", "30", "--output", "/dev/null", "--write-out", "%{http_code}\n",
            "-H", f"x-api-key: {TOKEN}", way.to("/echo/[1-60]"),
        ),
        capture_output=True, check=True,
    )  # fmt: skip
    check(f"{way.name}: sixty at once", done.stdout.decode().split(), ["200"] * 60)


def uploads(way):
    with tempfile.NamedTemporaryFile() as file:
        for block in blocks(20 * MIB):
            file.write(block)
        file.flush()
        expected = sha256_of(blocks(20 * MIB))
        for what, arguments in [
            ("expects a 100", ["-H", "Expect: 100-continue"]),
            ("expects nothing", ["-H", "Expect:"]),
            ("in chunks", ["-H", "Transfer-Encoding: chunked"] if way.version != "2" else []),
        ]:
            body, measured = way.run(*arguments, "--upload-file", file.name, way.to("/sum"))
            seen = json.loads(body)
            check(f"{way.name}: {what}", measured["http_code"], 200)
            check(f"{way.name}: {what}", (seen["bytes"], seen["sha256"]), expected)
            # A refusal: never more on its way than what the kernels' buffers and windows take, and never a reset
            # before curl has looked at the answer, which it does between two writes.
            for _ in range(6):
                body, measured = way.run(*arguments, "--upload-file", file.name, way.to("/sum/refused"), key=None)
                check(f"{way.name}: refused, {what}", measured["http_code"], 401)
                check(f"{way.name}: refused, {what}", b"missing_key" in body, True)
                sent = measured["size_upload"]
                waits = "100" in what and way.version != "2"
                check(f"{way.name}: refused after {sent} bytes, {what}", sent < (1 if waits else 16 * MIB), True)
    body, measured = way.run("--data-binary", "@-", way.to("/sum"), feed=b"from a pipe")
    check(f"{way.name}: POST", json.loads(body)["bytes"], 11)


def carries_a_gib(way):
    expected = sha256_of(blocks(GIB))
    fields = ["-H", f"x-api-key: {TOKEN}"]
    with subprocess.Popen(way.command(*fields, way.to(f"/bytes/{GIB}")), stdout=subprocess.PIPE) as curl:
        found = sha256_of(iter(lambda: curl.stdout.read(MIB), b""))
    check(f"{way.name}: a GiB down", (curl.returncode, found), (0, expected))
    up = way.command(*fields, "--upload-file", "-", "--expect100-timeout", "30", way.to("/sum"))
    with subprocess.Popen(up, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        for block in blocks(GIB):
            curl.stdin.write(block)
        curl.stdin.close()
        seen = json.loads(curl.stdout.read())
    check(f"{way.name}: a GiB up", (seen["bytes"], seen["sha256"]), expected)


def agrees_on_tls(base):
    """Both versions of TLS, what is agreed upon in the handshake, and a certificate of the client."""
    authority = ["--cacert", GIVEN["authority"]]
    for version, number in [(["--tlsv1.2", "--tls-max", "1.2"], "TLSv1.2"), (["--tlsv1.3"], "TLSv1.3")]:
        for protocol, expected in [("--http2", "2"), ("--http1.1", "1.1")]:
            way = Way(f"{number} {protocol}", base, expected, protocol, *version, *authority)
            asks(way)
            said = subprocess.run(way.command("--verbose", way.to("/echo")), capture_output=True, check=True)
            check(f"{way.name}: it is", f"SSL connection using {number}" in said.stderr.decode(), True)
    way = Way("a certificate", base, "2", *authority, "--cert", GIVEN["certificate"])
    _, measured = way.run(way.to("/echo/certificate"))
    check(f"{way.name}: status", (measured["http_code"], measured["ssl_verify_result"]), (200, 0))
    # 60: whoever does not know the authority is not spoken to.
    Way("another authority", base, "2").run(f"{base}/echo", code=60)


def main():
    plain = f"http://{GIVEN['http']}"
    secure = f"https://{GIVEN['https']}"
    authority = ["--cacert", GIVEN["authority"]]
    http1 = Way("HTTP/1.1", plain, "1.1", "--http1.1")
    http2_tls = Way("HTTP/2 over TLS", secure, "2", "--http2", *authority)
    ways = [
        http1,
        http2_tls,
        Way("HTTP/1.1 over TLS", secure, "1.1", "--http1.1", *authority),
        Way("h2c", plain, "2", "--http2-prior-knowledge"),
        # keygate stays with HTTP/1.1 where `Upgrade: h2c` is asked for.
        Way("h2c by upgrade", plain, "1.1", "--http2"),
    ]
    for way in ways:
        for part in [asks, reads, uploads]:
            part(way)
        # curl 7.88 cannot use an h2c connection twice, whoever is behind it (exit code 16).
        if way.name != "h2c":
            stays(way)
        print(f"{way.name}: ok", flush=True)
    agrees_on_tls(secure)
    for way in [http1, http2_tls]:
        begun = time.monotonic()
        carries_a_gib(way)
        print(f"{way.name}: a GiB each way in {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
