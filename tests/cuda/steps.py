# SPDX-License-Identifier: BSL-1.0
"""The steps of steps.cpp as they are written in Python, eager and compiled: steps.py <device> <seconds of each case>

Writes a line of JSON for each case.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 4.0
DEVICE = sys.argv[1]
SECONDS = float(sys.argv[2])
AT_ONCE = 1 if DEVICE == "cpu" else 20  # steps before it waits for the device


class SmallCnn(nn.Module):
    def __init__(self, width):
        super().__init__()

        def convolution(before, after):
            return nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)

        self.conv1, self.norm1 = convolution(1, width), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = convolution(width, 2 * width), nn.BatchNorm2d(2 * width)
        self.conv3, self.norm3 = convolution(2 * width, 2 * width), nn.BatchNorm2d(2 * width)
        self.classifier = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        x = F.relu(self.norm3(self.conv3(x)), inplace=True)
        return self.classifier(x.mean((2, 3))), []


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResidualX4(nn.Module):
    def __init__(self, depth, classes=100):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        width, stages = 32, []
        for i, wide in enumerate((64, 128, 256)):
            blocks = []
            for block in range((depth - 2) // 6):
                blocks.append(Block(width, wide, 2 if i > 0 and block == 0 else 1))
                width = wide
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.classifier(x.mean((2, 3))), features[1:]


def soft_target(student, teacher):
    log_teacher = F.log_softmax(teacher / TEMPERATURE, 1)
    log_student = F.log_softmax(student / TEMPERATURE, 1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum() * (TEMPERATURE * TEMPERATURE / student.size(0))


def measure(name, how, make, images, labels, widths, compiled):
    torch.manual_seed(1)
    teacher, student = (net.to(DEVICE) for net in make())
    connectors = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths).to(DEVICE)
    teacher.eval()
    parameters = list(student.parameters()) + list(connectors.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)

    def losses(x, y):
        with torch.no_grad():
            teacher_logits, teacher_features = teacher(x)
        logits, features = student(x)
        loss = 0.1 * F.cross_entropy(logits, y) + 0.9 * soft_target(logits, teacher_logits)
        for connector, own, goal in zip(connectors, features, teacher_features):
            loss = loss + 0.5 * F.mse_loss(connector(own), goal)
        return loss

    if compiled:
        losses = torch.compile(losses)

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            loss = losses(images, labels)
            loss.backward()
            optimizer.step()
        return loss.item()  # waits for the device

    steps(AT_ONCE)
    begin, elapsed, count = time.perf_counter(), 0.0, 0
    while elapsed < SECONDS:
        loss = steps(AT_ONCE)
        count += AT_ONCE
        elapsed = time.perf_counter() - begin
    print(json.dumps({"case": name, "how": how, "steps_per_second": round(count / elapsed, 2), "loss": loss}), flush=True)


def main():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cases = [
        ("01_quickstart", lambda: (SmallCnn(32), SmallCnn(16)), (64, 1, 28, 28), 10, []),
        ("03_features", lambda: (ResidualX4(32), ResidualX4(8)), (64, 3, 32, 32), 100, [128, 256]),
    ]
    for name, make, sizes, classes, widths in cases:
        images, labels = torch.randn(sizes, device=DEVICE), torch.randint(classes, (sizes[0],), device=DEVICE)
        for compiled in (False, True):
            how = f"Python {torch.__version__}, " + ("compiled" if compiled else "eager")
            try:
                measure(name, how, make, images, labels, widths, compiled)
            except Exception as error:  # no Triton, no compiler: said in the table
                print(json.dumps({"case": name, "how": how, "failed": str(error).strip().splitlines()[0]}), flush=True)


main()
