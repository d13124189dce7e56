"""keygate beside nginx and HAProxy: CPU time per request, in interleaved rounds. Started by `run`, which says more.

Not a load test: the load comes from one core and is as much as the proxy's one core can take.
"""
import argparse
import glob
import http.client
import json
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from figures import show
from figures import summarise
from processes import TICK_SECONDS
from processes import Failure
from processes import Process
from processes import core_ticks
from processes import wait_for_port
from processes import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CONNECTIONS = 64
BODY = b"x" * 1024
KEY_COUNT = 10
UNKNOWN_TOKENS = 10
# the requests of check_work
CHECKS = 4
# after the load ends the proxy still writes its last log lines: every subject buffers for 100 ms
FLUSH_SECONDS = 0.2
# a cell is repeated when others had more than this of the proxy's core, or the hypervisor of either
OTHERS_LIMIT = 0.05
STEAL_LIMIT = 0.03
REPEATS = 2
IDLE_LIMIT = 0.06
PACED_RATE = 5000
MODES = ("allowed", "refused", "paced")


# --- the subjects -----------------------------------------------------------------------------


class Subject:
    def __init__(self, name, port, process, version, log_pattern):
        self.name = name
        self.port = port
        self.process = process
        self.version = version
        self.log_pattern = log_pattern

    def log_lines(self):
        """(lines, bytes) in the subject's log so far."""
        lines = size = 0
        for path in glob.glob(self.log_pattern):
            with open(path, "rb") as file:
                while chunk := file.read(1 << 20):
                    lines += chunk.count(b"\n")
                    size += len(chunk)
        return lines, size

    def empty_log(self):
        """Between cells: gigabytes would come together. keygate's own rotation and pruning bound its files."""
        if os.path.exists(self.log_pattern):
            os.truncate(self.log_pattern, 0)


def free_ports(count):
    """Distinct ports that are free now; all are held until the last is known."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def version_of(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.patience = arguments.patience
        self.processes = []
        self.subjects = []
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Failure("two cores are needed: one for the proxy, one for load and upstream")
        self.proxy_core, self.load_core = cores[0], cores[1]
        os.sched_setaffinity(0, {self.load_core})
        # the same tokens in every run
        draw = random.Random(20)
        self.keys = {f"client-{n}": f"peers_{draw.getrandbits(190):048x}" for n in range(1, KEY_COUNT + 1)}
        self.unknown = [f"peers_{draw.getrandbits(190):048x}" for _ in range(UNKNOWN_TOKENS)]

    def start_process(self, name, core, command, dialogue=False):
        process = Process(name, core, command, os.path.join(self.folder, f"{name}.out"), dialogue)
        self.processes.append(process)
        return process

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def fill(self, name, **values):
        """A configuration from this folder with its @NAMES@ filled in."""
        with open(os.path.join(HERE, name)) as file:
            text = file.read()
        values["dir"] = self.folder
        values["user"] = "user root;" if os.geteuid() == 0 else ""
        for key, value in values.items():
            text = text.replace(f"@{key.upper()}@", str(value))
        return self.write(name, text)

    def start(self):
        port_file = os.path.join(self.folder, "upstream.port")
        command = [self.arguments.load, port_file, ",".join(self.keys.values()), ",".join(self.unknown)]
        self.loader = self.start_process("load", self.load_core, command, dialogue=True)
        wait_until(lambda: os.path.exists(port_file), "the upstream", self.loader)
        with open(port_file) as file:
            self.upstream_port = int(file.read())
        ports = free_ports(4)
        for name in self.arguments.subjects:
            start = {"keygate": self.start_keygate, "nginx": self.start_nginx, "haproxy": self.start_haproxy}[name]
            subject = start(*ports)
            wait_for_port(subject.process, subject.port)
            self.subjects.append(subject)

    def start_keygate(self, port, telemetry_port, _nginx_port, _haproxy_port):
        entries = "".join(f'  - {{name: {name}, token: "{token}"}}\n' for name, token in self.keys.items())
        self.write("keygate-data/keys.yaml", f"version: 1\nkeys:\n{entries}")
        os.chmod(os.path.join(self.folder, "keygate-data/keys.yaml"), 0o600)
        config = self.fill("keygate.yaml", port=port, upstream_port=self.upstream_port, telemetry_port=telemetry_port)
        binary = self.arguments.keygate
        process = self.start_process("keygate", self.proxy_core, [binary, "run", "--config", config])
        logs = os.path.join(self.folder, "keygate-data/transactions/*.ndjson")
        return Subject("keygate", port, process, version_of([binary, "--version"]), logs)

    def start_nginx(self, _keygate_port, _telemetry_port, port, _haproxy_port):
        entries = "\n        ".join(f'"{token}" {name};' for name, token in self.keys.items())
        config = self.fill("nginx.conf", port=port, upstream_port=self.upstream_port, keys=entries)
        process = self.start_process(
            "nginx", self.proxy_core, ["nginx", "-p", self.folder, "-e", "stderr", "-c", config])
        logs = os.path.join(self.folder, "nginx-access.log")
        return Subject("nginx", port, process, version_of(["nginx", "-v"]), logs)

    def start_haproxy(self, _keygate_port, _telemetry_port, _nginx_port, port):
        self.write("haproxy-keys.map", "".join(f"{token} {name}\n" for name, token in self.keys.items()))
        config = self.fill("haproxy.cfg", port=port, upstream_port=self.upstream_port)
        process = self.start_process("haproxy", self.proxy_core, ["haproxy", "-db", "-f", config])
        return Subject("haproxy", port, process, version_of(["haproxy", "-v"]), process.output)

    def stop(self):
        # proxies before their upstream, so that none logs errors about it
        for process in reversed(self.processes):
            process.stop()

    # --- is it the same work? -----------------------------------------------------------------

    def check_work(self, subject):
        """What the upstream must see, and what the client must get; a subject that does less is not measured."""
        name, token = next(iter(self.keys.items()))
        wait_until(lambda: get(subject.port, "/v1/items/0", token)[0] != 503, f"{subject.name}'s keys", subject.process)
        time.sleep(FLUSH_SECONDS)
        before = subject.log_lines()[0]
        status, _, body = get(subject.port, "/seen/", token)
        lines = body.decode().splitlines()[1:]
        seen = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        wanted = {
            "x-api-key": None,
            "x-keygate-key-name": name,
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
            "x-forwarded-host": "service.example",
            "host": "service.example",
        }
        differing = {key: seen.get(key) for key, value in wanted.items() if seen.get(key) != value}
        if status != 200 or differing or not seen.get("x-request-id"):
            raise Failure(f"{subject.name}: not the agreed work: status {status}, the upstream saw {seen}")
        status, _, body = get(subject.port, "/v1/items/1", token)
        if status != 200 or body != BODY:
            raise Failure(f"{subject.name}: status {status} and {len(body)} bytes instead of 200 and {len(BODY)}")
        for wrong in (None, self.unknown[0]):
            status, headers, _ = get(subject.port, "/v1/items/1", wrong)
            if status != 401 or "www-authenticate" not in headers:
                raise Failure(f"{subject.name}: status {status} instead of 401 for a wrong or missing key")
        self.check_log(subject, CHECKS, before)

    def check_log(self, subject, requests, before):
        """One line a request, none lost and none twice; returns the bytes of all lines so far."""
        deadline = time.monotonic() + 5
        while True:
            lines, size = subject.log_lines()
            if lines - before == requests:
                return size
            if time.monotonic() > deadline:
                raise Failure(f"{subject.name}: {lines - before} log lines for {requests} requests")
            time.sleep(0.1)

    # --- a cell: one subject under load for one round ----------------------------------------

    def wait_idle(self):
        """Waits until nobody uses the two cores, while there is patience left; says whether they were idle."""
        while True:
            began = time.monotonic()
            before = [core_ticks(core) for core in (self.proxy_core, self.load_core)]
            time.sleep(0.2)
            after = [core_ticks(core) for core in (self.proxy_core, self.load_core)]
            if all(b[0] - a[0] + b[1] - a[1] <= IDLE_LIMIT * 0.2 + TICK_SECONDS for a, b in zip(before, after)):
                return True
            self.patience -= time.monotonic() - began
            if self.patience <= 0:
                return False

    def load(self, subject, mode, seconds, rate=0):
        command = f"{subject.port} {round(seconds * 1000)} {rate} {0 if mode == 'refused' else 1}\n"
        self.loader.process.stdin.write(command)
        self.loader.process.stdin.flush()
        line = self.loader.process.stdout.readline()
        if not line:
            self.loader.process.wait(5)
            self.loader.check_alive()
        result = json.loads(line)
        if result["wrong"] or result["errors"] or not result["requests"]:
            raise Failure(f"{subject.name}, {mode}: {result['wrong']} wrong statuses and {result['errors']} errors "
                          f"in {result['requests']} requests")
        return result

    def cell(self, subject, mode):
        for attempt in range(1 + REPEATS):
            idle = self.wait_idle()
            cell_began = time.monotonic()
            used, stolen = core_ticks(self.proxy_core)
            stolen += core_ticks(self.load_core)[1]
            load_cpu = self.loader.cpu_seconds()
            cpu, began = subject.process.cpu_seconds(), time.monotonic()
            result = self.load(subject, mode, self.arguments.seconds, PACED_RATE if mode == "paced" else 0)
            time.sleep(FLUSH_SECONDS)
            elapsed = time.monotonic() - began
            cpu = subject.process.cpu_seconds() - cpu
            load_cpu = self.loader.cpu_seconds() - load_cpu
            used_after, stolen_after = core_ticks(self.proxy_core)
            stolen = stolen_after + core_ticks(self.load_core)[1] - stolen
            others = max(0.0, used_after - used - cpu) / elapsed
            loaded = result["duration_us"] / 1e6
            disturbed = others > OTHERS_LIMIT or stolen / elapsed > STEAL_LIMIT
            subject.process.check_alive()
            subject.empty_log()
            if not disturbed or self.patience <= 0:
                break
            self.patience -= time.monotonic() - cell_began
        return {
            "cpu_us_per_request": cpu / result["requests"] * 1e6,
            "requests_per_second": result["requests"] / loaded,
            "requests": result["requests"],
            "load_us_per_request": load_cpu / result["requests"] * 1e6,
            "busy": cpu / loaded,
            "p50_us": result["p50_us"],
            "p99_us": result["p99_us"],
            "others": others,
            "stolen": stolen / elapsed,
            "idle_before": idle,
            "attempts": attempt + 1,
            "disturbed": disturbed,
        }

    def warm_up(self):
        """One short load each: caches and pools filled, the work and the log lines checked."""
        facts = {}
        for subject in self.subjects:
            self.check_work(subject)
            before, size = subject.log_lines()
            requests = self.load(subject, "allowed", 0.5)["requests"]
            bytes_a_line = (self.check_log(subject, requests, before) - size) / requests
            before, _ = subject.log_lines()
            requests = self.load(subject, "refused", 0.3)["requests"]
            self.check_log(subject, requests, before)
            facts[subject.name] = {
                "version": subject.version,
                "log_bytes_per_line": round(bytes_a_line),
                "resident_kib": subject.process.resident_kib(),
            }
        return facts

    def rounds(self, mode):
        rounds = []
        for number in range(self.arguments.rounds):
            cells = {subject.name: self.cell(subject, mode) for subject in self.subjects}
            rounds.append(cells)
            figures = "  ".join(
                f"{name} {cell['cpu_us_per_request']:6.2f}{'*' if cell['disturbed'] else ' '}"
                for name, cell in cells.items())
            print(f"  {mode} round {number + 1:2}: CPU µs/request  {figures}", file=sys.stderr)
        return rounds


def get(port, path, token):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"Host": "service.example"}
        if token is not None:
            headers["X-Api-Key"] = token
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower() for name, _ in answer.getheaders()}, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"port {port}: {path}: {error}") from error
    finally:
        connection.close()


def machine():
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "kernel": platform.release(), "cores": os.cpu_count()}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    parser.add_argument("--keygate", metavar="FILE", help="the keygate binary (run builds one, or takes KEYGATE_BIN)")
    parser.add_argument("--rounds", type=int, default=13, help="interleaved rounds a mode (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="load a cell (default %(default)s)")
    parser.add_argument("--modes", default=",".join(MODES), help="some of %(default)s")
    parser.add_argument("--load", metavar="FILE", required=True, help="the load generator (run builds it)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="in all, for waiting until others are idle and for repeating cells (default %(default)s)")
    parser.add_argument("--output", default="target/peers/result.json", help="the figures (default %(default)s)")
    arguments = parser.parse_args()
    for program in filter(None, (arguments.keygate, arguments.load)):
        if not os.access(program, os.X_OK):
            parser.error(f"{program} is no program that can be run")
    arguments.subjects = [*(["keygate"] if arguments.keygate else []), "nginx", "haproxy"]
    arguments.modes = arguments.modes.split(",")
    if not set(arguments.modes) <= set(MODES):
        parser.error(f"--modes knows {', '.join(MODES)}")
    if arguments.rounds < 7:
        print("fewer than 7 rounds: good for trying it, not for a figure", file=sys.stderr)
    return arguments


def main():
    arguments = parse_arguments()
    # a terminated run cleans up like an interrupted one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="keygate-peers-")
    bench = None
    try:
        bench = Bench(arguments, folder)
        bench.start()
        facts = bench.warm_up()
        report = {"method": "CPU seconds of the proxy / requests answered, same-round ratios",
                  "machine": machine(), "connections": CONNECTIONS, "seconds": arguments.seconds,
                  "subjects": facts, "modes": {}}
        for mode in arguments.modes:
            rounds = bench.rounds(mode)
            report["modes"][mode] = {"summary": summarise(rounds, arguments.subjects), "cells": rounds}
        for mode, figures in report["modes"].items():
            show(mode, figures["summary"])
        os.makedirs(os.path.dirname(os.path.abspath(arguments.output)), exist_ok=True)
        with open(arguments.output, "w") as file:
            json.dump(report, file, indent=1)
        print(f"\nall figures: {os.path.abspath(arguments.output)}")
        return 0
    except Failure as failure:
        print(f"peers: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        # a second ctrl-c must not leave processes behind
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if bench is not None:
            bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
