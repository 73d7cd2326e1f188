"""The differences between fake CPU tensors and a GPU, each mended where `tracker` and `cuda_semantics` say."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.rig


def follow(step: Any, *, imitation: Any = None) -> Any:
    """The stream of a function on fake tensors; it gets `torch`."""
    import torch
    from torch._subclasses import FakeTensorMode

    from vramplan_bench.tracker import StorageTracker

    tracker = StorageTracker(imitation)
    with FakeTensorMode(), tracker.following():
        step(torch)
    return tracker


def peak(tracker: Any) -> int:
    from vramplan_bench.timeline import peaks

    return max(p.bytes for p in peaks(tracker).values())


def test_a_gradient_that_only_autograd_holds_is_summed_in_place() -> None:
    def step(torch: Any) -> None:
        x = torch.nn.Parameter(torch.empty(1024, 1024))
        y = x.cos() + x.sin() + x.exp()
        y.sum().backward()

    sums = [b for b in follow(step).blocks if b.operator == "aten::add.Tensor" and b.node]
    assert sums == [], "no new storage for a sum of gradients"


def test_a_tied_matrix_has_its_two_gradients_and_their_sum_at_once_as_without_a_mode() -> None:
    """The head's gradient is a transposed view, whose storage has two owners: autograd does not add in place there."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    def step(torch: Any) -> None:
        matrix = torch.nn.Parameter(torch.empty(5000, 400))
        hidden = torch.nn.functional.embedding(torch.zeros(3, dtype=torch.long), matrix)
        torch.nn.functional.linear(hidden, matrix).sum().backward()

    size = 5000 * 400 * 4
    dry = [b for b in follow(step).blocks if b.bytes == size]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(torch)
    events = [e.nbytes() for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert len(dry) == sum(e == size for e in events) == 4, "the matrix, two gradients and their sum"


def test_scalars_made_for_the_host_are_not_counted() -> None:
    def step(torch: Any) -> None:
        torch.tensor(1.0)
        torch.tensor(1.0, device="cpu")
        torch.tensor(1.0, device=torch.device("cpu"))

    assert len(follow(step).blocks) == 1, "only the one that follows a tensor's device"


@pytest.mark.parametrize(
    ("capability", "dtype", "heads", "mask", "expected"),
    [
        ((8, 0), "bfloat16", (8, 2), False, "flash"),
        ((8, 0), "bfloat16", (8, 8), True, "efficient"),
        ((8, 0), "float32", (8, 8), False, "efficient"),
        ((8, 0), "float32", (8, 2), False, "math"),
        ((7, 5), "float16", (8, 8), False, "efficient"),
        ((7, 5), "float16", (8, 2), False, "math"),
        ((7, 5), "bfloat16", (8, 8), False, "math"),
    ],
)
def test_the_kernel_is_the_one_the_card_would_take(
    capability: tuple[int, int], dtype: str, heads: tuple[int, int], mask: bool, expected: str
) -> None:
    import torch

    from vramplan_bench.attention import choose_kernel

    q, k = (torch.empty(1, n, 16, 64, dtype=getattr(torch, dtype)) for n in heads)
    assert choose_kernel("sdpa", capability, q, k, k, mask) == expected


def test_autocast_lifts_what_cuda_lifts() -> None:
    import torch

    from vramplan_bench.autocast import cuda_autocast_list

    x = torch.randn(4, 4)
    with cuda_autocast_list(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = x @ x
        assert low.dtype == torch.bfloat16
        assert {f(low).dtype for f in (torch.exp, torch.rsqrt, lambda t: t.pow(2), lambda t: t.softmax(-1))} == {
            torch.float32
        }
        assert torch.nn.functional.layer_norm(low, (4,)).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).exp().dtype == torch.bfloat16, "the list is gone with its block"


def test_softmax_backward_holds_the_product_that_its_kernel_makes() -> None:
    from vramplan_bench.imitation import A100, CudaImitation

    def step(torch: Any) -> None:
        x = torch.nn.Parameter(torch.empty(1024, 1024))
        x.softmax(-1).backward(torch.empty(1024, 1024))

    assert peak(follow(step, imitation=CudaImitation(A100))) - peak(follow(step)) == 1024 * 1024 * 4


def test_the_installed_bitsandbytes_decides_when_it_fuses() -> None:
    import torch

    from vramplan_bench.bnb4bit import GemmExpansion

    a100 = GemmExpansion((8, 0), 108)
    assert a100.uses_fused_kernel(torch.bfloat16, 1, 4096, 4096, 64)
    assert not a100.uses_fused_kernel(torch.bfloat16, 2048, 4096, 4096, 64)


@pytest.mark.parametrize(("rows", "counted"), [(1000, 0), (50, 2)])
def test_large_states_of_a_paged_optimizer_are_not_on_the_card(rows: int, counted: int) -> None:
    import torch
    from torch._subclasses import FakeTensorMode

    from vramplan_bench.optimizers import build_optimizer, paged_states
    from vramplan_bench.tracker import StorageTracker

    tracker = StorageTracker()
    with FakeTensorMode(), paged_states(tracker), tracker.following():
        weight = torch.nn.Parameter(torch.empty(rows, 1000))
        weight.grad = torch.empty(rows, 1000)
        build_optimizer("paged_adamw_32bit", [weight]).step()
    assert sum(b.bytes >= rows * 4000 for b in tracker.blocks) == 2 + counted, "weight, gradient, states"
