"""Processes of the comparison: started on one core, their CPU time read, ended by their own pid."""
import glob
import os
import signal
import socket
import subprocess
import time

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """What stops the comparison, said in a line."""


def task_seconds(pid):
    """CPU time of all threads of a process, from the scheduler's nanoseconds."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path) as file:
                total += int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended between the listing and the reading
    return total / 1e9


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                found += [int(word) for word in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def core_ticks(core):
    """(seconds used, seconds stolen by the hypervisor) of a core since boot."""
    with open("/proc/stat") as file:
        for line in file:
            words = line.split()
            if words[0] == f"cpu{core}":
                user, nice, system, _idle, _wait, irq, soft_irq, steal = map(int, words[1:9])
                return (user + nice + system + irq + soft_irq) * TICK_SECONDS, steal * TICK_SECONDS
    raise Failure(f"/proc/stat has no cpu{core}")


class Process:
    """A process that this program started, on one core; ended by its own pid."""

    def __init__(self, name, core, command, output, dialogue):
        self.name = name
        self.output = output
        with open(output, "ab") as file:
            self.process = subprocess.Popen(
                # ended also when this program is killed
                ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *command], start_new_session=True, text=True, stderr=file,
                stdin=subprocess.PIPE if dialogue else subprocess.DEVNULL,
                stdout=subprocess.PIPE if dialogue else file)

    def pids(self):
        """The process and its direct children (nginx: the master and its worker)."""
        return [self.process.pid, *children(self.process.pid)]

    def cpu_seconds(self):
        return sum(task_seconds(pid) for pid in self.pids())

    def resident_kib(self):
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/status") as file:
                    total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
            except FileNotFoundError:
                continue
        return total

    def check_alive(self):
        if self.process.poll() is not None:
            with open(self.output, errors="replace") as file:
                last = "\n".join(file.read().splitlines()[-15:])
            raise Failure(f"{self.name} ended with {self.process.returncode}:\n{last}")

    def stop(self):
        if self.process.poll() is not None:
            return
        own = self.pids()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in own:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(5)


def wait_until(condition, what, process):
    deadline = time.monotonic() + 10
    while not condition():
        process.check_alive()
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not come within 10 s")
        time.sleep(0.02)


def wait_for_port(process, port):
    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    wait_until(answers, f"{process.name} on port {port}", process)
