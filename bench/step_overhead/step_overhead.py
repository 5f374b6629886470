# SPDX-License-Identifier: BSL-1.0
"""The steps of step_overhead.cpp in Python. Prints the torch version and the seconds of the fastest step.
"""
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    sys.exit(1)

TEMPERATURE = 3.0


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = None
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)), inplace=True)


class ResidualX4(nn.Module):
    def __init__(self, depth, classes=100):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
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
        return self.classifier(x.mean((2, 3))), features


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden = nn.Linear(64, width)
        self.out = nn.Linear(width, 10)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x))), []


def soft_target(student, teacher):
    log_teacher = F.log_softmax(teacher / TEMPERATURE, 1)
    log_student = F.log_softmax(student / TEMPERATURE, 1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum() * (TEMPERATURE * TEMPERATURE / student.size(0))


def seconds_a_step(teacher, student, images, labels, connectors, times, repetitions):
    teacher.eval()
    parameters = list(student.parameters()) + [p for c in connectors for p in c.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=False)

    def step():
        with torch.no_grad():
            teacher_logits, teacher_features = teacher(images)
        logits, features = student(images)
        loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * soft_target(logits, teacher_logits)
        for i, connector in enumerate(connectors):
            loss = loss + 0.5 * F.mse_loss(connector(features[i + 1]), teacher_features[i + 1])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    step()
    fastest = float("inf")
    for _ in range(repetitions):
        begin = time.process_time()
        for _ in range(times):
            step()
        fastest = min(fastest, (time.process_time() - begin) / times)
    return fastest


torch.set_num_threads(1)
torch.manual_seed(1)
print("torch", torch.__version__)
print("a", seconds_a_step(Perceptron(256), Perceptron(32), torch.randn(32, 64), torch.randint(10, (32,)), [], 100, 60))
image_batch = torch.randn(16, 3, 32, 32), torch.randint(100, (16,))
print("b", seconds_a_step(ResidualX4(32), ResidualX4(8), *image_batch, [], 1, 15))
hints = [nn.Conv2d(128, 128, 1), nn.Conv2d(256, 256, 1)]
print("c", seconds_a_step(ResidualX4(32), ResidualX4(8), *image_batch, hints, 1, 15))
