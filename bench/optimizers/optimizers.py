# SPDX-License-Identifier: BSL-1.0
"""The steps of optimizers.cpp in Python (with `foreach=True` if this torch supports it). Prints the seconds of
the fastest step of each.
"""
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("no torch")

torch.set_num_threads(1)
CASES = [(100, 64), (1000, 64), (1000, 1024), (100, 65536), (10, 2000000)]


def parameters(tensors, elements):
    torch.manual_seed(1)
    result = [torch.randn(elements // 8, 8, requires_grad=True) for _ in range(tensors)]
    for each in result:
        each.grad = torch.randn(elements // 8, 8)
    return result


for tensors, elements in CASES:
    for name, make in [
        ("Sgd", lambda p, **kw: torch.optim.SGD(p, 1e-3, momentum=0.9, weight_decay=5e-4, **kw)),
        ("AdamW", lambda p, **kw: torch.optim.AdamW(p, 1e-3, **kw)),
        ("AdamW-amsgrad", lambda p, **kw: torch.optim.AdamW(p, 1e-3, amsgrad=True, **kw)),
    ]:
        for foreach in (False, True):
            try:
                optimizer = make(parameters(tensors, elements), foreach=foreach)
            except TypeError:
                continue
            optimizer.step()
            seconds = []
            for _ in range(21):
                begin = time.process_time_ns()
                optimizer.step()
                seconds.append(1e-9 * (time.process_time_ns() - begin))
            print(f"{name}/{tensors}/{elements}", min(seconds), flush=True)
