# SPDX-License-Identifier: BSL-1.0
"""Writes result.json and result.md from what run.sh has put into a folder: report.py <folder> <device>

The status is 0 if all tests passed and all losses agree.
"""
import datetime
import json
import pathlib
import sys
import xml.etree.ElementTree


def tests_of(folder, program, status):
    """Passed and failed test cases of a program, by its JUnit file; one that ended early has none."""
    result = {"program": program, "status": status, "passed": 0, "failed": []}
    try:
        root = xml.etree.ElementTree.parse(folder / f"{program}.xml").getroot()
    except (OSError, xml.etree.ElementTree.ParseError):
        last = (folder / f"{program}.txt").read_text(errors="replace").strip().splitlines()[-1:]
        result["failed"] = [f"(ended with status {status}) " + "".join(last)]
        return result
    cases = {}
    for case in root.iter("testcase"):  # a section is a case of its own
        name = case.get("classname", "").split(".")[-1] + ": " + case.get("name", "").split("/")[0]
        bad = case.find("failure") is not None or case.find("error") is not None
        cases[name] = cases.get(name, False) or bad
    result["passed"] = sum(not bad for bad in cases.values())
    result["failed"] = [name for name, bad in cases.items() if bad]
    return result


def main():
    folder, device = pathlib.Path(sys.argv[1]), sys.argv[2]
    statuses = [line.rsplit(" ", 1) for line in (folder / "status").read_text().splitlines()]
    tests = [tests_of(folder, name, int(status)) for name, status in statuses if name != "steps"]
    steps = [json.loads(line) for line in (folder / "steps.json").read_text().splitlines()]
    result = {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "machine": (folder / "machine").read_text().splitlines(),
        "tests": tests,
        "steps": steps,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")

    lines = [f"Device `{device}`, {result['date']}: " + "; ".join(result["machine"]), ""]
    lines += ["| program | test cases passed | failed |", "|---|---|---|"]
    lines += [f"| {each['program']} | {each['passed']} | {len(each['failed'])} |" for each in tests]
    lines += ["", "| composition | how | steps per second |", "|---|---|---|"]
    for each in steps:
        if "agree" in each:
            rate = f"relative difference {each['difference']}: " + ("agree" if each["agree"] else "DIFFER")
        else:
            rate = each.get("steps_per_second", "failed: " + each.get("failed", ""))
        lines.append(f"| {each['case']} | {each['how']} | {rate} |")
    failed = [
        f"- {name} ended with status {status}: " + "".join((folder / f"{name}.txt").read_text().strip().splitlines()[-1:])
        for name, status in statuses
        if name == "steps" and status != "0"
    ]
    failed += [f"- {each['program']}: {name}" for each in tests for name in each["failed"]]
    if failed:
        lines += ["", "Failed:", ""] + failed
    text = "\n".join(lines) + "\n"
    (folder / "result.md").write_text(text)
    print(text)
    losses_agree = any("agree" in each for each in steps) and all(each.get("agree", True) for each in steps)
    sys.exit(0 if losses_agree and not failed and all(status == "0" for _, status in statuses) else 1)


main()
