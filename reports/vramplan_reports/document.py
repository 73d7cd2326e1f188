"""contract.md's JSON of an answer (schema_version 1): keys may be added, none changes its meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vramplan import __version__

if TYPE_CHECKING:
    from vramplan.estimator.result import Answer, CostRate, Estimate, Lever, Memory, Speed
    from vramplan.gpu import Gpu
    from vramplan.model import Model

SCHEMA_VERSION = 1

Document = dict[str, Any]


def opening() -> Document:
    """What every document begins with."""
    return {"schema_version": SCHEMA_VERSION, "vramplan_version": __version__}


def answers_document(answers: tuple[Answer, ...]) -> Document:
    """One answer as itself, several (one per card) under `answers`."""
    if len(answers) == 1:
        return answer_document(answers[0])
    return opening() | {"answers": [answer_document(answer) for answer in answers]}


def answer_document(answer: Answer) -> Document:
    count = answer.estimates[0].recipe.gpus
    return opening() | {
        "model": model_document(answer.model),
        "gpu": None if answer.gpu is None else gpu_document(answer.gpu) | {"count": count},
        "estimates": [_estimate(estimate) for estimate in answer.estimates],
        "smallest_gpus": [gpu.key for gpu in answer.smallest_gpus],
        "smallest_gpus_method": answer.smallest_gpus_method,
        "profile": None if answer.profile is None else answer.profile.name,
    }


def model_document(model: Model) -> Document:
    return {
        "id": model.id,
        "alias": model.alias,
        "parameters": model.parameters,
        "model_type": model.model_type,
        "layers": model.layers,
        "hidden_size": model.hidden_size,
        "vocab_size": model.vocab_size,
        "tied_embeddings": model.tied_embeddings,
        "max_position_embeddings": model.max_position_embeddings,
        "dtype": model.dtype,
        "notes": list(model.notes),
        "source": model.source,
    }


def gpu_document(gpu: Gpu) -> Document:
    return {
        "key": gpu.key,
        "name": gpu.name,
        "aliases": list(gpu.aliases),
        "capacity_bytes": gpu.capacity_bytes,
        "memory_gb_marketing": gpu.memory_gb_marketing,
        "vendor": gpu.vendor,
        "architecture": gpu.architecture,
        "compute_capability": None if gpu.compute_capability is None else "{}.{}".format(*gpu.compute_capability),
        "mem_bandwidth_gb_per_s": gpu.mem_bandwidth_gb_per_s,
        "bf16_dense_tflops": gpu.bf16_dense_tflops,
        "fp16_dense_tflops": gpu.fp16_dense_tflops,
        "tdp_w": gpu.tdp_w,
        "note": gpu.note,
        "source": gpu.source,
    }


def _estimate(estimate: Estimate) -> Document:
    parameters = estimate.parameters
    return {
        "method": estimate.recipe.method,
        "recipe": estimate.recipe.as_dict(),
        "parameters": {
            "total": parameters.total,
            "trainable": parameters.trainable,
            "quantized": parameters.quantized,
        },
        "memory": memory_document(estimate.memory),
        "verdict": estimate.verdict,
        "headroom_bytes": estimate.headroom_bytes,
        "largest_micro_batch": estimate.largest_micro_batch,
        "longest_seq_len": estimate.longest_seq_len,
        "notes": list(estimate.notes),
        "levers": [_lever(lever) for lever in estimate.levers],
        "speed": None if estimate.speed is None else speed_document(estimate.speed),
        "cost": None if estimate.cost is None else cost_document(estimate.cost),
    }


def speed_document(speed: Speed) -> Document:
    return {
        "tokens_per_s_per_gpu": speed.tokens_per_s_per_gpu,
        "interval": list(speed.interval),
        "step_time_s": speed.step_time_s,
        "bound_by": speed.bound_by,
        "shares": dict(speed.shares),
        "flops_per_token": speed.flops_per_token,
        "mfu": speed.mfu,
        "source": speed.source,
        "terms": [
            {
                "name": term.name,
                "bound": term.bound,
                "duration_s": term.duration_s,
                "source": term.source,
                "formula": term.formula,
            }
            for term in speed.terms
        ],
    }


def cost_document(cost: CostRate) -> Document:
    """Money as text: a float would round it."""
    price = cost.price
    return {
        "usd_per_hour": str(cost.usd_per_hour),
        "usd_per_million_tokens": str(cost.usd_per_million_tokens),
        "interval": [str(end) for end in cost.interval],
        "price": {
            "provider": price.provider,
            "region": price.region,
            "instance": price.instance,
            "kind": price.kind,
            "date": price.date.isoformat(),
            "stale": cost.stale,
        },
    }


def memory_document(memory: Memory) -> Document:
    return {
        "allocated_bytes": memory.allocated_bytes,
        "reserved_bytes": memory.reserved_bytes,
        "device_bytes": memory.device_bytes,
        "device_interval_bytes": list(memory.device_interval_bytes),
        "binding_phase": memory.binding_phase,
        "phases": [{"name": phase.name, "allocated_bytes": phase.allocated_bytes} for phase in memory.phases],
        "terms": [
            {
                "name": term.name,
                "group": term.group,
                "bytes": term.bytes,
                "phases": list(term.phases),
                "source": term.source,
                "formula": term.formula,
            }
            for term in memory.terms
        ],
    }


def _lever(lever: Lever) -> Document:
    return {
        "knob": lever.knob,
        "value": lever.value,
        "saved_bytes": lever.saved_bytes,
        "device_bytes": lever.device_bytes,
        "makes_it_fit": lever.makes_it_fit,
    }
