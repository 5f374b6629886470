#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Checks the folders of include/retort against the table in docs/design.md.

Fails if a folder includes one that its row does not list, if a row lists a folder that is not above it (so that there
are no cycles), or if a folder has no row.
"""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
headers = root / "include" / "retort"


def table():
    """By row: the folder and those that it may include; None: all above it."""
    text = (root / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/[^`]*` \|[^|]*\| ?([^|]*?) ?\|$", text, re.MULTILINE)
    allowed = {}
    for folder, may in rows:
        if folder in allowed and may == "(as above)":
            continue
        if folder in allowed:
            sys.exit(f"docs/design.md: two rows for {folder}/")
        names = list(allowed) if may == "all of the above" else [name for name in may.split(", ") if name]
        for name in names:
            if name not in allowed:
                sys.exit(f"docs/design.md: {folder}/ may include {name}/, which no row above it describes")
        allowed[folder] = set(names)
    return allowed


def main():
    allowed = table()
    mistakes = [f"{folder}/ has no row in docs/design.md" for folder in
                sorted(each.name for each in headers.iterdir() if each.is_dir()) if folder not in allowed]
    mistakes += [f"{folder}/ of docs/design.md does not exist" for folder in allowed
                 if not (headers / folder).is_dir()]
    for file in sorted(headers.glob("*/**/*.hpp")):
        folder = file.relative_to(headers).parts[0]
        for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r"\s*#\s*include\s*[<\"](?:\.\./)*retort/([^>\"]+)[>\"]", text)
            if not match:
                continue
            parts = match[1].split("/")
            if len(parts) == 1 and parts[0] != "version.hpp":
                mistakes.append(f"{file.relative_to(root)}:{line}: includes the umbrella header {match[1]}")
            elif len(parts) > 1 and parts[0] != folder and parts[0] not in allowed.get(folder, set()):
                mistakes.append(f"{file.relative_to(root)}:{line}: {folder}/ may not include {match[1]}")
    for mistake in mistakes:
        print(mistake)
    if not mistakes:
        print(f"folders: {len(allowed)}, as in docs/design.md")
    return 1 if mistakes else 0


sys.exit(main())
