#!/usr/bin/env python3
"""Measures how fast mlp hashes and restores many files, against b3sum reading the same bytes, and restoring also against two `cp`
at once. Whole processes, alternating.

    tests/bench/files.py                        # 40,000 files, 4 GB
    tests/bench/files.py --files 4000 --rounds 5

Hashing is a plan over a folder that nothing is known of. Restoring is a run of one step that is given a stored folder, copied from
the store, and looks at its names. Python's standard library is enough; b3sum is taken from the PATH, else built by cargo. Raw
times go to tests/bench/results; docs/benchmarks.md explains.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import REPOSITORY, Workspace, alternate, report, timed

FILE_BYTES = 100_000
PIPELINE = """pipeline bench

step made = sh("cp -r {d} {copy}", inputs: { d: folder("data") }, outputs: { copy: folder })
step used = sh("ls {d} > {names}", inputs: { d: made }, outputs: { names: file })
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mlp", type=Path, default=REPOSITORY / "target/debug/mlp")
    parser.add_argument("--folder", type=Path, help="where to work; kept afterwards")
    parser.add_argument("--no-save", action="store_true", help="write no file to tests/bench/results")
    args = parser.parse_args()
    args.peer = find_b3sum()
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as temporary:
        folder = args.folder or Path(temporary)
        for result in [hashing(args, folder), restoring(args, folder)]:
            gigabytes = args.files * FILE_BYTES / 1e9
            for name, taken in result["times"].items():
                print(f"  {name:8} {gigabytes / statistics.median(seconds for seconds, _ in taken):6.2f} GB/s")
            report(result, args)


class Files(Workspace):
    """A folder of files whose bytes differ, and a pipeline that copies it into the store and out again."""

    def __init__(self, args, folder):
        super().__init__(args, folder / f"files-{args.files}")
        self.n = args.files
        paths = [f"data/{i // 1000}/{i}" for i in range(self.n)]
        self.peer = [args.peer, *paths]
        noise = os.urandom(FILE_BYTES)
        for i, path in enumerate(self.mlp_folder / path for path in paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(i.to_bytes(8, "little") + noise[8:])
        (self.mlp_folder / "bench.mlp").write_text(PIPELINE)

    def run_peer(self):
        return timed(self.peer, self.mlp_folder)

    def result_of(self, name, command, times):
        commands = {"mlp": command, "b3sum": [*self.peer[:2], ".."]}
        return {"name": name, "steps": self.n, "commands": commands, "times": times, "peer": "b3sum"}


def hashing(args, folder):
    case = Files(args, folder)
    command = [str(args.mlp), "plan", "bench.mlp"]

    def forget():
        case.wait_for_owner()
        shutil.rmtree(case.mlp_folder / ".mlp", ignore_errors=True)

    runs = {"mlp": lambda: timed(command, case.mlp_folder), "b3sum": case.run_peer}
    return case.result_of("hash_files", command, alternate(args.rounds, runs, before=forget))


def restoring(args, folder):
    case = Files(args, folder)
    case.run_mlp()
    command = [*case.command, "--force", "used"]
    copy = ["sh", "-c", "rm -rf copy && mkdir copy && ls -d data/* | xargs -P 2 -I{} cp -r {} copy && rm -rf copy"]
    runs = {
        "mlp": lambda: timed(command, case.mlp_folder),
        "b3sum": case.run_peer,
        "cp": lambda: timed(copy, case.mlp_folder),
    }
    result = case.result_of("restore_files", command, alternate(args.rounds, runs, before=case.wait_for_owner))
    result["commands"]["cp"] = copy
    return result


def find_b3sum():
    found = shutil.which("b3sum")
    if found:
        return found
    folder = Path(tempfile.gettempdir()) / "mlp-bench-b3sum"
    program = folder / "bin/b3sum"
    if not program.exists():
        command = ["cargo", "install", "--quiet", "b3sum", "--root", str(folder)]
        if subprocess.run(command).returncode != 0:
            sys.exit("there is no b3sum on the PATH and none could be built")
    return str(program)


if __name__ == "__main__":
    main()
