#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles all cases of one file of tests/compile_fail at once, and sorts the compiler's output by case.

    compile_fail_group.py <source> <compile_commands.json> <folder> <compiler id>

Writes <folder>/<case>.said for each case that the compiler complained about. CompileFailRun.cmake looks there first and
compiles a case alone if it does not find what it expects: this only saves time and decides nothing.
"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

source, commands, folder = (pathlib.Path(each) for each in sys.argv[1:4])
gcc = sys.argv[4] == "GNU"
folder.mkdir(parents=True, exist_ok=True)

cases = []  # name, first and last line
for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
    if match := re.match(r"#if defined\(RETORT_CASE_(\w+)\)", line):
        cases.append([match[1], number, number])
    elif cases and cases[-1][1] == cases[-1][2] and line.startswith(("#elif", "#endif")):
        cases[-1][2] = number

entry = next(each for each in json.loads(commands.read_text(encoding="utf-8")) if each["file"] == str(source))
command = shlex.split(entry["command"]) + ["-DRETORT_CASE", "-fsyntax-only"]
command += (["-fno-diagnostics-show-caret", "-fdiagnostics-color=never"] if gcc else
            ["-fno-caret-diagnostics", "-fno-color-diagnostics", "-ferror-limit=0"])
command += [f"-DRETORT_CASE_{name}" for name, _, _ in cases]
said = subprocess.run(command, cwd=entry["directory"], env={**os.environ, "LC_ALL": "C"}, text=True,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

# A complaint: where it was instantiated from, the error, its notes.
complaints, context = [], []
for line in said.splitlines():
    if re.search(r": error: ", line):
        complaints.append([*context, line])
        context = []
    elif re.match(r"\S+: (In|At) |In file included from|\s+from |\S+:\d+:\d+:   required ", line):
        context.append(line)
    elif context:
        context.append(line)
    elif complaints:
        complaints[-1].append(line)

place = re.compile(re.escape(source.name) + r":(\d+)")
for name, first, last in cases:
    own = [line for complaint in complaints
           if any(first <= int(line_number) <= last for line in complaint for line_number in place.findall(line))
           for line in complaint]
    file = folder / f"{name}.said"
    file.unlink(missing_ok=True)
    if own:
        file.write_text("\n".join(own) + "\n", encoding="utf-8")
