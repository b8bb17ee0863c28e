#!/usr/bin/env python3
"""Measures the language on generated files: `mlp check` as whole processes, and an editor's keystrokes over `mlp lsp`.

    tests/bench/language.py check --steps 10000,100000
    tests/bench/language.py keystroke --steps 10000
    tests/bench/language.py --help

Python's standard library is enough. Raw times go to tests/bench/results/NAME.json; docs/benchmarks.md explains.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine import REPOSITORY, RESULTS, alternate, first_line, machine, timed

HEAD = """pipeline big

param epochs: int = 30 in 1..=500
param lr: float = 1e-3

schema Customer {
  id:     str  key
  tenure: int  in 0..=120
  Churn:  bool label
}

source raw = csv.read("data.csv", schema: Customer)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["check", "keystroke", "all"])
    parser.add_argument("--steps", default="10000", help="numbers of steps, with commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mlp", type=Path, default=REPOSITORY / "target/debug/mlp")
    parser.add_argument("--no-save", action="store_true", help="write no file to tests/bench/results")
    args = parser.parse_args()
    args.mlp = args.mlp.resolve()
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as folder:
        folder = Path(folder)
        (folder / "mlp.yaml").touch()
        (folder / "data.csv").write_text("id,tenure,Churn\na,1,yes\n")
        for n in [int(n) for n in args.steps.split(",")]:
            file = folder / f"big-{n}.mlp"
            file.write_text(text(n))
            if args.what in ["check", "all"]:
                report(args, f"check_{n}", check(args, folder, file))
            if args.what in ["keystroke", "all"]:
                report(args, f"keystroke_{n}", keystroke(args, file, n))


def text(n):
    """Returns a pipeline of `n` declared steps: splits, trainings, evaluations and files; comments and options, too."""
    lines = [HEAD]
    for i in range(n // 4):
        lines += [
            f"/// Splits them.\nstep parts_{i} = table.split(raw, test: 0.2, seed: {i})",
            f"step model_{i} = torch.train(parts_{i}.train, target: Churn, net: torch.mlp([64, 32]), epochs, lr)",
            "  with { timeout: 30m, retries: 2 }",
            f"step quality_{i} = eval.binary(model_{i}, parts_{i}.test)",
            f"step out_{i} = csv.write(parts_{i}.train) // the first",
        ]
    return "\n".join(lines) + "\n"


def check(args, folder, file):
    """Whole processes; `--version` shows what of it is only the start of the program."""
    commands = {"check": [str(args.mlp), "check", file.name], "version": [str(args.mlp), "--version"]}
    runs = {name: (lambda command=command: timed(command, folder)) for name, command in commands.items()}
    times = alternate(args.rounds, runs)
    return {
        "seconds": {name: [seconds for seconds, _ in taken] for name, taken in times.items()},
        "peak_kib": {name: max(kib for _, kib in taken) for name, taken in times.items()},
    }


def keystroke(args, file, n):
    """From the message that a letter was typed to the answer, and to the diagnostics of the new text."""
    editor = Editor(args.mlp, file)
    lines = file.read_text().split("\n")
    name = f"step quality_{n // 8} = eval.binary("
    line = next(i for i, text in enumerate(lines) if text.startswith(name))
    at = {"line": line, "character": len(name)}
    behind = {"line": line, "character": len(name) + 1}
    seen = {"start": {"line": line - 30, "character": 0}, "end": {"line": line + 30, "character": 0}}
    asked = {
        "completion": ("textDocument/completion", {"position": behind}),
        "hover": ("textDocument/hover", {"position": {"line": line, "character": 6}}),
        "hints": ("textDocument/inlayHint", {"range": seen}),
        "colours": ("textDocument/semanticTokens/range", {"range": seen}),
    }

    def answered(method, params):
        editor.type({"start": at, "end": at}, "m")
        seconds = editor.ask(method, params)
        editor.diagnostics()
        editor.type({"start": at, "end": behind}, "")
        editor.diagnostics()
        return seconds, 0

    def diagnosed():
        started = time.perf_counter()
        editor.type({"start": at, "end": at}, "m")
        editor.diagnostics()
        seconds = time.perf_counter() - started
        editor.type({"start": at, "end": behind}, "")
        editor.diagnostics()
        return seconds, 0

    runs = {name: (lambda request=request: answered(*request)) for name, request in asked.items()}
    runs["diagnostics"] = diagnosed
    times = alternate(max(args.rounds, 15), runs)
    return {
        "seconds": {name: [seconds for seconds, _ in taken] for name, taken in times.items()},
        "peak_kib": {"lsp": editor.leave()},
    }


class Editor:
    """Speaks the Language Server Protocol with `mlp lsp`."""

    def __init__(self, mlp, file):
        self.process = subprocess.Popen([str(mlp), "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=file.parent)
        self.document = {"uri": file.as_uri()}
        self.version, self.last_id = 1, 0
        self.ask("initialize", {"capabilities": {}, "processId": None, "rootUri": None}, about_file=False)
        self.tell("initialized", {})
        item = {**self.document, "languageId": "mlp", "version": 1, "text": file.read_text()}
        self.tell("textDocument/didOpen", {"textDocument": item})
        found = self.diagnostics()
        if found:
            sys.exit(f"the file does not check: {found[:3]}")

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def read(self):
        length = 0
        while (line := self.process.stdout.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if length == 0:
            sys.exit("mlp lsp has ended")
        return json.loads(self.process.stdout.read(length))

    def tell(self, method, params):
        self.send({"method": method, "params": params})

    def ask(self, method, params, about_file=True):
        self.last_id += 1
        params = {"textDocument": self.document, **params} if about_file else params
        started = time.perf_counter()
        self.send({"id": self.last_id, "method": method, "params": params})
        while (message := self.read()).get("id") != self.last_id or "method" in message:
            pass
        if message.get("result") is None:
            sys.exit(f"{method}: {message}")
        return time.perf_counter() - started

    def type(self, place, text):
        self.version += 1
        document = {**self.document, "version": self.version}
        self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"range": place, "text": text}]})

    def diagnostics(self):
        """Waits for those of the newest text."""
        while True:
            message = self.read()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"].get("version") == self.version:
                return message["params"]["diagnostics"]

    def leave(self):
        peak = next(line for line in open(f"/proc/{self.process.pid}/status") if line.startswith("VmHWM"))
        self.last_id += 1
        self.send({"id": self.last_id, "method": "shutdown", "params": None})
        self.tell("exit", None)
        self.process.stdin.close()
        self.process.wait()
        return int(peak.split()[1])


def report(args, name, result):
    result["seconds"] = {what: [round(seconds, 6) for seconds in taken] for what, taken in result["seconds"].items()}
    result["median_seconds"] = {what: statistics.median(taken) for what, taken in result["seconds"].items()}
    result["machine"] = machine()
    result["version"] = first_line([str(args.mlp), "--version"])
    medians = "".join(f" {what} {1000 * seconds:.1f} ms" for what, seconds in result["median_seconds"].items())
    print(f"{name:18}{medians}   peak {max(result['peak_kib'].values()) / 1024:.0f} MiB", flush=True)
    if not args.no_save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
