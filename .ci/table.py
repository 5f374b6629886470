#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The table of what is proven with which LibTorch and compiler, from the logs of the parts that passed.

    table.py <folder of logs> <README> <part>...

Prints the table, and fails if the README has a different one between its marks. A row is what a configuration of a part
printed ("retort 0.1.0 with LibTorch 2.6, GNU 14.2.0"); what the part proves is listed below.
"""
import pathlib
import re
import sys

PROVES = {
    "test": "all tests and examples",
    "asan": "address and undefined-behavior sanitizers on readers, loaders, optimizers, searches",
    "conan": "the Conan package",
    "trixie": "unit tests and laws",
    "newest": "all headers without a warning; README, quickstart; unit tests of optimizers, files, teachers, trainers",
    "clang": "all headers without a warning; README, quickstart; unit tests of optimizers, files, teachers, trainers, callbacks, cohorts, knowledge; laws",
}
NAMES = {"GNU": "GCC", "Clang": "Clang"}
BEGIN, END = "<!-- proven by .ci/run -->", "<!-- end -->"

logs, readme, parts = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
rows = {}
for part in parts:
    if part not in PROVES:
        continue
    text = (logs / f"{part}.log").read_text(encoding="utf-8", errors="replace")
    said = re.search(r"retort \S+ with LibTorch (\d+\.\d+)\S*, (\w+) (\d+)", text)
    if not said:
        sys.exit(f"{part}: the log does not say with which LibTorch and compiler")
    rows.setdefault((said[1], f"{NAMES.get(said[2], said[2])} {said[3]}"), []).append(PROVES[part])

lines = ["| LibTorch | compiler | what passes |", "|---|---|---|"]
for (version, compiler), proven in sorted(rows.items(), key=lambda row: [int(n) for n in row[0][0].split(".")]):
    lines.append(f"| {version} | {compiler} | {'; '.join(dict.fromkeys(proven))} |")
table = "\n".join(lines)
print(table)
text = readme.read_text(encoding="utf-8")
if f"{BEGIN}\n\n{table}\n\n{END}" not in text:
    sys.exit(f"{readme.name}: the table between {BEGIN} and {END} is another one")
