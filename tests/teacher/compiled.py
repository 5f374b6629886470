# SPDX-License-Identifier: BSL-1.0
"""Makes the files for compiled_test.cpp: compiled.py FOLDER

net.pt            the weights of a network
dictionary.pt2    the network, compiled for any number of images; returns {"logits", "body"}
pair.pt2          the same for three images; returns (logits, body)
cuda.pt2          dictionary.pt2, marked as one for CUDA devices

The exit status is 3 if this Python cannot compile a network at all.
"""

import sys
import zipfile

try:
    import torch
    import torch.utils.cpp_extension  # needs setuptools
    from torch._inductor import aoti_compile_and_package
    from torch.export import Dim, export
except ImportError as error:
    print(error)
    sys.exit(3)


class Net(torch.nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair
        self.body = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        body = torch.relu(self.norm(self.body(x)))
        logits = self.head(body.flatten(1))
        return (logits, body) if self.pair else {"logits": logits, "body": body}


def compiled(net, images, path, **options):
    with torch.no_grad():
        program = export(net.eval(), (images,), **options)
    try:
        aoti_compile_and_package(program, package_path=path)
    except TypeError:  # LibTorch 2.5
        sys.exit(3)


folder = sys.argv[1]
torch.manual_seed(1)
net = Net(pair=False)
with torch.no_grad():
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
torch.save(net.state_dict(), f"{folder}/net.pt")
compiled(net, torch.randn(4, 3, 8, 8), f"{folder}/dictionary.pt2", dynamic_shapes={"x": {0: Dim("batch", max=1024)}})
net.pair = True
compiled(net, torch.randn(3, 3, 8, 8), f"{folder}/pair.pt2")
with zipfile.ZipFile(f"{folder}/dictionary.pt2") as source, zipfile.ZipFile(f"{folder}/cuda.pt2", "w") as target:
    for name in source.namelist():
        content = source.read(name)
        if name.endswith("metadata.json"):
            content = content.replace(b'"cpu"', b'"cuda"')
        target.writestr(name, content)
