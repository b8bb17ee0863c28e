#!/usr/bin/env python3
"""Measures mlp against ninja: nothing to do, many small steps, in-process steps, start-up. Whole processes, alternating.

    tests/bench/engine.py noop --steps 1000,10000,100000
    tests/bench/engine.py --help

Python's standard library is enough. ninja is taken from the PATH, else installed from PyPI into a folder of its own.
Raw times go to tests/bench/results/NAME.json with both commands and what the machine is; docs/benchmarks.md explains.
"""

import argparse
import fcntl
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=[*MEASURES, "all"])
    parser.add_argument("--steps", default="1000,10000", help="numbers of steps, with commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mlp", type=Path, default=REPOSITORY / "target/debug/mlp")
    parser.add_argument("--folder", type=Path, help="where to work; kept afterwards, and used again as it is")
    parser.add_argument("--no-save", action="store_true", help="write no file to tests/bench/results")
    args = parser.parse_args()
    args.sizes = [int(n) for n in args.steps.split(",")]
    args.peer = find_ninja()
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for what in MEASURES if args.what == "all" else [args.what]:
            for result in MEASURES[what](args, folder):
                report(result, args)


# What is measured.


def noop(args, folder):
    """Everything is up to date, and the kept answer says so."""
    for n in args.sizes:
        case = Case(args, folder, n)
        case.build_all()
        case.run_mlp()  # all stamps are old enough by now: this one leaves an answer that needs no reading
        times = alternate(args.rounds, {"mlp": case.run_mlp, "ninja": case.run_ninja})
        yield case.result("noop", times)


def noop_without_snapshot(args, folder):
    """The kept answer is deleted, and so is the owner process gone: the ordinary way from the very start."""
    for n in args.sizes:
        case = Case(args, folder, n)
        case.build_all()

        def forget():
            case.wait_for_owner()
            shutil.rmtree(case.mlp_folder / ".mlp/snapshot", ignore_errors=True)

        times = alternate(args.rounds, {"mlp": case.run_mlp, "ninja": case.run_ninja}, before=forget)
        yield case.result("noop_without_snapshot", times)


def steps(args, folder, kind=""):
    """Every step is executed: a shell that copies a file of a few bytes, two at once."""
    for n in args.sizes:
        case = Case(args, folder, n, kind)

        def forget():
            case.wait_for_owner()
            case.put_aside(case.mlp_folder / ".mlp")
            case.put_aside(case.ninja_folder / "out")
            (case.ninja_folder / ".ninja_log").unlink(missing_ok=True)

        times = alternate(args.rounds, {"mlp": case.run_mlp, "ninja": case.run_ninja}, before=forget)
        case.remove_aside()
        yield case.result("_".join(["steps", *filter(None, [kind])]), times)


def steps_unconfined(args, folder):
    """The same with `confine: off`."""
    yield from steps(args, folder, "unconfined")


def in_process(args, folder):
    """Steps that start no process: single ones, and chains of a hundred."""
    for kind in ["single", "chains"]:
        case = InProcess(args, folder, kind, max(args.sizes))

        def forget():
            case.wait_for_owner()
            case.put_aside(case.mlp_folder / ".mlp")

        times = alternate(args.rounds, {"mlp": case.run_mlp}, before=forget)
        case.remove_aside()
        yield case.result(f"in_process_{kind}", times)


def start_up(args, folder):
    """`mlp --version`, and check and plan of the churn pipeline, against `ninja --version`."""
    churn = folder / "churn"
    shutil.copytree(REPOSITORY / "pipelines/churn", churn, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".mlp"))
    (churn / "mlp.yaml").touch()
    commands = {
        "version": [str(args.mlp), "--version"],
        "check": [str(args.mlp), "check", "churn.mlp"],
        "plan": [str(args.mlp), "plan", "churn.mlp"],
        "ninja": [args.peer, "--version"],
    }
    runs = {name: (lambda command=command: timed(command, churn)) for name, command in commands.items()}
    times = alternate(max(args.rounds, 20), runs)
    yield {"name": "start_up", "commands": commands, "times": times}


MEASURES = {
    "noop": noop,
    "noop-without-snapshot": noop_without_snapshot,
    "steps": steps,
    "steps-unconfined": steps_unconfined,
    "in-process": in_process,
    "start-up": start_up,
}


# The workspaces.


class Workspace:
    def __init__(self, args, folder):
        self.args = args
        self.mlp_folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mlp.yaml").write_text("owner_idle_seconds: 0\n")
        self.command = [str(args.mlp), "run", "bench.mlp", "-j", "2"]

    def run_mlp(self):
        return timed(self.command, self.mlp_folder)

    def wait_for_owner(self):
        """Waits until mlp's owner process has gone: it removes its socket first, and lets go of its lock last."""
        store = self.mlp_folder / ".mlp"
        for _ in range(4000):
            if not (store / "sock").exists() and is_free(store / "lock"):
                return
            time.sleep(0.005)
        sys.exit("mlp's owner process is still there")

    def put_aside(self, path):
        """Takes away what a round has made. It is removed at the end: ext4 passes over what was removed a moment ago, one by one, when it makes new files."""
        if path.exists():
            self.aside().mkdir(exist_ok=True)
            path.rename(self.aside() / str(len(list(self.aside().iterdir()))))

    def remove_aside(self):
        shutil.rmtree(self.aside(), ignore_errors=True)

    def aside(self):
        return self.mlp_folder.with_name(self.mlp_folder.name + "-aside")

    def result(self, name, times):
        return {"name": name, "steps": self.n, "commands": {"mlp": self.command}, "times": times}


class Case(Workspace):
    """The same shell steps for both programs, each with one file of its own."""

    def __init__(self, args, folder, n, kind=""):
        super().__init__(args, folder / f"mlp-{kind}{n}")
        self.n = n
        self.ninja_folder = folder / f"ninja-{kind}{n}"
        self.peer = [args.peer, "-j", "2"]
        if (self.ninja_folder / "build.ninja").exists():
            return
        for workspace in [self.mlp_folder, self.ninja_folder]:
            for i in range(n):
                path = workspace / f"src/{i // 1000}/{i}.txt"
                if i % 1000 == 0:
                    path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{i}\n")
        more = ", confine: off" if kind == "unconfined" else ""
        rows = (
            f'step s{i} = sh("cat {{i}} > {{o}}", inputs: {{ i: file("src/{i // 1000}/{i}.txt") }}, outputs: {{ o: file }}{more})\n'
            for i in range(n)
        )
        (self.mlp_folder / "bench.mlp").write_text("pipeline bench\n\n" + "".join(rows))
        rows = (f"build out/{i // 1000}/{i}.txt: copy src/{i // 1000}/{i}.txt\n" for i in range(n))
        head = "rule copy\n  command = cat $in > $out\n\n"
        (self.ninja_folder / "build.ninja").write_text(head + "".join(rows))
        time.sleep(0.2)  # files that were just written may be written again within one tick of the clock

    def run_ninja(self):
        return timed(self.peer, self.ninja_folder)

    def build_all(self):
        self.run_mlp()
        self.run_ninja()

    def result(self, name, times):
        result = super().result(name, times)
        result["commands"]["ninja"] = self.peer
        return result


class InProcess(Workspace):
    """Steps inside mlp itself, over tables so small that their results live in the journal."""

    CHAIN = 100

    def __init__(self, args, folder, kind, n):
        super().__init__(args, folder / f"{kind}-{n}")
        self.n = n
        lines = ["pipeline bench\n"]
        if kind == "single":
            for i in range(n):
                path = self.mlp_folder / f"src/{i // 1000}/{i}.txt"
                if i % 1000 == 0:
                    path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{i}\n")
                lines.append(f'source s{i} = file("src/{i // 1000}/{i}.txt")')
        else:
            rows = "".join(f"{i}\n" for i in range(300))
            (self.mlp_folder / "rows.csv").write_text("id\n" + rows)
            lines.append("schema Row { id: int }\n")
            lines.append('source raw = csv.read("rows.csv", schema: Row)')
            for i in range(n - 1):
                chain, link = divmod(i, self.CHAIN)
                data = "raw" if link == 0 else f"s{i - 1}.train"
                lines.append(f"step s{i} = table.split_rows({data}, every: 300, at: {chain})")
        (self.mlp_folder / "bench.mlp").write_text("\n".join(lines) + "\n")
        time.sleep(0.2)


# Measuring.


def is_free(path):
    if not path.exists():
        return True
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def timed(command, folder):
    """Runs a command to its end; returns its wall time in seconds and its peak memory in KiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} in {folder} exits with {process.returncode}: {said.decode(errors='replace')}")
    return seconds, usage.ru_maxrss


def alternate(n_rounds, runs, before=lambda: None):
    """Runs each once a round, in an order that turns around, and returns the times by name."""
    times = {name: [] for name in runs}
    for i in range(n_rounds):
        before()
        names = list(runs)
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(runs[name]())
    return times


def report(result, args):
    times = result.pop("times")
    result["seconds"] = {name: [round(seconds, 6) for seconds, _ in taken] for name, taken in times.items()}
    result["peak_kib"] = {name: max(kib for _, kib in taken) for name, taken in times.items()}
    result["median_seconds"] = {name: statistics.median(seconds) for name, seconds in result["seconds"].items()}
    result["machine"] = machine()
    peer = result.pop("peer", "ninja")
    result["versions"] = {
        "mlp": first_line([str(args.mlp), "--version"]),
        peer: first_line([args.peer, "--version"]),
    }
    result["commands"] = {name: " ".join([Path(command[0]).name, *command[1:]]) for name, command in result["commands"].items()}
    medians = result["median_seconds"]
    label = result["name"] + (f" {result['steps']}" if "steps" in result else "")
    line = f"{label:32}" + "".join(f" {name} {1000 * seconds:9.1f} ms" for name, seconds in medians.items())
    if peer in medians and "mlp" in medians:
        line += f"   ratio {medians['mlp'] / medians[peer]:.2f}"
    if "mlp" in medians:
        line += f"   {1e6 * medians['mlp'] / result['steps']:.0f} us a step   peak {result['peak_kib']['mlp'] / 1024:.0f} MiB"
    print(line, flush=True)
    if not args.no_save:
        RESULTS.mkdir(exist_ok=True)
        name = label.replace(" ", "_")
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "load_before": round(os.getloadavg()[0], 2)}


def first_line(command):
    return subprocess.run(command, capture_output=True, text=True).stdout.split("\n")[0]


def find_ninja():
    found = shutil.which("ninja")
    if found:
        return found
    folder = Path(tempfile.gettempdir()) / "mlp-bench-ninja"
    program = folder / "bin/ninja"
    if not program.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "ninja"]
        if subprocess.run(command).returncode != 0:
            sys.exit("there is no ninja on the PATH and none could be installed")
    return str(program)


if __name__ == "__main__":
    main()
