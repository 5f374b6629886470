#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Weights as Python's torch writes and reads them: makes tests/golden/weights, and the other side of a round trip.

    weights.py make DIR          writes the files that the tests read
    weights.py check FILE SUM    reads FILE by torch.load(weights_only=True) (if supported) or as safetensors,
                                 and compares the sums of its tensors with the text file SUM: name, type, sum
    weights.py answer FILE XY    reads FILE the same way, loads it into a ResNet-18, strictly, and compares its outputs for
    the tensor x in the file XY with the tensor y there
"""
import collections
import io
import json
import os
import struct
import sys
import typing

import torch


def everything():
    generator = torch.Generator().manual_seed(1)
    tensors = collections.OrderedDict()
    for name in ("float64", "float32", "float16", "bfloat16"):
        tensors[name] = torch.randn(3, 4, generator=generator).to(getattr(torch, name))
    for name in ("int64", "int32", "int16", "int8", "uint8"):
        tensors[name] = torch.randint(0, 100, (2, 3), generator=generator).to(getattr(torch, name))
    tensors["bool"] = torch.rand(5, generator=generator) > 0.5
    tensors["complex64"] = torch.complex(torch.arange(3.0), -torch.arange(3.0))
    tensors["complex128"] = tensors["complex64"].to(torch.complex128) / 3
    tensors["scalar"] = torch.tensor(7.5)
    tensors["empty"] = torch.empty(0, 3)
    tensors["transposed"] = torch.arange(6.0).reshape(2, 3).t()
    tensors["part"] = torch.arange(10.0)[2:9:3]
    tensors["tied.a"] = torch.arange(4.0)
    tensors["tied.b"] = tensors["tied.a"]
    return tensors


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 6, 5))

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.convolution(x))))


class Answers(typing.NamedTuple):
    logits: torch.Tensor
    body: torch.Tensor


class Teacher(torch.nn.Module):
    """Returns its logits."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def body(self, x):
        return torch.relu(self.net.norm(self.net.convolution(x)))

    def forward(self, x):
        return self.net.head(self.body(x))


class TupleTeacher(Teacher):
    def forward(self, x):
        body = self.body(x)
        return self.net.head(body), body


class NamedTeacher(Teacher):
    def forward(self, x):
        body = self.body(x)
        return Answers(self.net.head(body), body)


class DictionaryTeacher(Teacher):
    def forward(self, x):
        body = self.body(x)
        return {"logits": self.net.head(body), "body": body}


class BasicBlock(torch.nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.relu = torch.nn.ReLU(inplace=True)
        self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or before != width:
            self.downsample = torch.nn.Sequential(
                torch.nn.Conv2d(before, width, 1, stride, bias=False), torch.nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(torch.nn.Module):
    """With torchvision's structure and names, but narrow."""

    def __init__(self, width=2, classes=10):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.relu = torch.nn.ReLU(inplace=True)
        self.maxpool = torch.nn.MaxPool2d(3, 2, 1)
        before = width
        for i in range(4):
            wide = width * 2**i
            blocks = [BasicBlock(before, wide, 1 if i == 0 else 2), BasicBlock(wide, wide, 1)]
            setattr(self, f"layer{i + 1}", torch.nn.Sequential(*blocks))
            before = wide
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(before, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def make_resnet18(path):
    """Checkpoints as written by training scripts: of a wrapped network on a GPU, with its optimizer."""
    torch.manual_seed(18)
    net = ResNet18()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.randn(16, 3, 64, 64)), torch.randint(0, 10, (16,)))
        loss.backward()
        optimizer.step()
    net.eval()
    x = torch.randn(4, 3, 32, 32)
    wrapped = {
        "epoch": 90,
        "arch": "resnet18",
        "state_dict": collections.OrderedDict(("module." + k, v) for k, v in net.state_dict().items()),
        "best_acc1": torch.tensor(69.76),
        "optimizer": optimizer.state_dict(),
    }
    location = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    torch.save(wrapped, path("resnet18.pth.tar"))
    torch.save(wrapped, path("resnet18_legacy.pth.tar"), _use_new_zipfile_serialization=False)
    torch.serialization.location_tag = location
    torch.save(collections.OrderedDict(x=x, y=net(x).detach()), path("resnet18_answers.pt"))


def small():
    torch.manual_seed(11)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))


def save_safetensors(tensors, path):
    """tensors: name -> (dtype of the format, shape, bytes)"""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def make_unusual(path):
    """Files with other entries besides the four tensors of a small network, or under another key."""
    net = small()
    state = lambda **more: collections.OrderedDict(net.state_dict(), **more)
    torch.save(state(**{"0._extra_state": io.BytesIO()}), path("extra_state.pt"))
    torch.save(state(epoch=3), path("plus_epoch.pt"))
    torch.save(state(scale=torch.tensor([0.125]).expand(4)), path("expanded.pt"))
    torch.save({"epoch": 3, "student": state()}, path("student_key.pt"))
    torch.save({"params_ema": state()}, path("params_ema.pt"))
    torch.save({"epoch": 3, "model": net, "ema": None}, path("yolo_like.pt"))
    sets = {"state_dict": {"w": torch.tensor([0.5, 1.5])}, "h": frozenset([1])}
    torch.save(sets, path("frozenset_4.pt"), pickle_protocol=4)
    plain = {k: ("F32", list(v.shape), v.numpy().tobytes()) for k, v in net.state_dict().items()}
    # 1, -1.5, 448 (the largest) and 0.015625 (the smallest normal one) in 1 + 4 + 3 bits.
    save_safetensors({**plain, "q": ("F8_E4M3", [4], b"\x38\xbc\x7e\x08")}, path("fp8.safetensors"))
    embedding = torch.randn(7, 4)
    save_safetensors({"emb.weight": ("F32", [7, 4], embedding.numpy().tobytes())}, path("tied.safetensors"))


def make(folder):
    os.makedirs(folder, exist_ok=True)
    path = lambda name: os.path.join(folder, name)
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(everything(), path("types.pt"))
    torch.save(everything(), path("types_legacy.pt"), **legacy)
    torch.manual_seed(3)
    net = Net()
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))  # moves the statistics
    net.eval()
    x = torch.randn(2, 3, 8, 8)
    wrapped = {
        "epoch": 4,
        "arch": "net",
        "state_dict": collections.OrderedDict(("module." + k, v) for k, v in net.state_dict().items()),
        "optimizer": {"lr": 0.1},
    }
    torch.save(net.state_dict(), path("net.pt"))
    torch.save(wrapped, path("wrapped.pt"))
    torch.save(wrapped, path("wrapped_legacy.pt"), **legacy)
    torch.save(dict(net.named_parameters()), path("parameters.pt"))
    torch.save(collections.OrderedDict(x=x, y=net(x).detach()), path("net_answers.pt"))
    torch.save({"numbers": [1, 2, 3]}, path("no_tensors.pt"))
    torch.save(net, path("whole_module.pt"))
    for kind in (Teacher, TupleTeacher, NamedTeacher, DictionaryTeacher):
        torch.jit.script(kind(net).train()).save(path(f"{kind.__name__}.pt"))
    make_resnet18(path)
    make_unusual(path)


def sums(tensors):
    lines = []
    for name, tensor in tensors.items():
        value = tensor.to(torch.complex128).sum() if tensor.numel() else torch.zeros((), dtype=torch.complex128)
        lines.append((name, str(tensor.dtype).replace("torch.", ""), list(tensor.shape), complex(value)))
    return lines


def read(file):
    if file.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(file)
    try:
        return torch.load(file, weights_only=True)
    except TypeError:  # torch before 1.13
        return torch.load(file)


def check(file, expected):
    tensors = read(file)
    found = {name: (dtype, shape, value) for name, dtype, shape, value in sums(tensors)}
    with open(expected) as lines:
        wanted = [line.split("\t") for line in lines.read().splitlines()]
    assert len(found) == len(wanted), (sorted(found), wanted)
    for name, dtype, shape, real, imaginary in wanted:
        assert found[name][0] == dtype, (name, found[name], dtype)
        assert found[name][1] == [int(n) for n in shape.split(",") if n], (name, found[name], shape)
        assert abs(found[name][2] - complex(float(real), float(imaginary))) < 1e-9, (name, found[name], real)
    print(len(wanted), "tensors agree")


def answer(file, expected):
    net = ResNet18()
    net.load_state_dict(read(file), strict=True)
    wanted = read(expected)
    difference = (net.eval()(wanted["x"]) - wanted["y"]).abs().max().item()
    assert difference < 1e-6, difference
    print("answers agree to", difference)


if __name__ == "__main__":
    {"make": make, "check": check, "answer": answer}[sys.argv[1]](*sys.argv[2:])
