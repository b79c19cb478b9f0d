"""`ZeroStepper`: DeepSpeed ZeRO shares optimizer state (1), gradients (2) and parameters (3) out among ranks. Alone names deepspeed.

AdamW is torch's own, as in the other steppers, and bf16 is autocast over fp32 weights, as in the other steppers: a method is compared with
another, not an optimizer with another. What DeepSpeed made of the configuration is read back: on a CPU its integrations fall
back to plain data parallelism without a word.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from lfray.engine.contract import EngineFacts
from lfray.engine.kernels import pick_kernel
from lfray.engine.ranks import Gang
from lfray.engine.single import adamw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from lfray.engine.contract import Batch, FitPlan, Objective
    from lfray.engine.ranks import Ranks

_LINEAR = torch.nn.functional.linear
LARGEST_BUCKET = 500_000_000
"""Elements; DeepSpeed's default."""
_OPTIMIZERS = {"DeepSpeedZeroOptimizer": (1, 2), "DeepSpeedZeroOptimizer_Stage3": (3,)}


class ZeroStepper:
    """AdamW on several devices that hold a part each."""

    sharded = True

    def __init__(
        self, model: nn.Module, objective: Objective, plan: FitPlan, config: Mapping[str, Any], *, device: torch.device
    ) -> None:
        """Hand the model to DeepSpeed, which shares it out.

        Args:
            model: The adapted model, whole, the same on every rank.
            objective: What is learned.
            plan: How.
            config: DeepSpeed's JSON (`spec.deepspeed`).
            device: Where this rank computes.
        """
        self.ranks: Ranks = Gang()
        deepspeed = _deepspeed(device)
        # Before ZeRO-3 takes the weights away: their shapes decide which layers are worth another kernel.
        self._kernel = pick_kernel(model, device)
        if plan.precision == "bf16":
            _autocast_forward(model, device)
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._objective, self._device = objective, device
        self._engine, _, _, _ = deepspeed.initialize(
            model=model,
            optimizer=adamw(model, plan),
            model_parameters=[parameter for parameter in model.parameters() if parameter.requires_grad],
            config=_fitted(config, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)),
            dist_init_required=False,
        )
        self._gather = deepspeed.zero.GatheredParameters

    @property
    def facts(self) -> EngineFacts:
        """Read back from DeepSpeed's engine."""
        optimizer = self._engine.optimizer
        stages = _OPTIMIZERS.get(type(optimizer).__name__, ())
        stage = int(self._engine.zero_optimization_stage())
        asked = {"optimizer": self._engine.zero_offload_optimizer(), "parameters": self._engine.zero_offload_param()}
        offload = tuple(name for name, found in asked.items() if found is not None and found.device == "cpu")
        # An optimizer that is not ZeRO's shares nothing out, whatever the configuration says.
        return EngineFacts(
            "deepspeed", self._kernel, int(self._engine.world_size), stage if stage in stages else 0, offload if stages else ()
        )

    @property
    def device(self) -> torch.device:
        """Where batches must be."""
        return self._device

    def update(self, micro_batches: Sequence[Batch], learning_rate: float, *, rows: int) -> Tensor:
        """One AdamW step on the mean loss over the rows of all ranks."""
        self._engine.train()
        part = torch.zeros((), device=self._device)
        for turn, batch in enumerate(micro_batches, 1):
            # Ours, not DeepSpeed's count: an epoch's last update may have fewer passes.
            self._engine.set_gradient_accumulation_boundary(turn == len(micro_batches))
            loss = batch.counted(self._objective.losses(self._engine, batch)).sum() / rows
            # ZeRO averages over ranks; the sum of the parts is the mean over rows.
            self._engine.backward(loss * self.ranks.size, scale_wrt_gas=False)
            part += loss.detach()
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return part

    def losses(self, batch: Batch) -> Tensor:
        """Row losses in evaluation mode, fp32."""
        self._engine.eval()
        with torch.no_grad(), _torchs_own_linear():
            return self._objective.losses(self._engine, batch).float()

    def scores(self, batch: Batch) -> Tensor:
        """Row scores in evaluation mode, fp32."""
        self._engine.eval()
        with torch.no_grad(), _torchs_own_linear():
            return self._objective.scores(self._engine, batch).float()

    def _flat(self) -> list[Tensor]:
        """This rank's flat fp32 parts of the trainable parameters, one a parameter group (stage 3: a sub-group)."""
        optimizer = self._engine.optimizer
        # Attributes of DeepSpeed 0.19.8, hence the pin and the contract test; its own checkpoints are pickles.
        found: list[Tensor] = (
            optimizer.fp32_partitioned_groups_flat
            if self._engine.zero_optimization_stage() == 3
            else optimizer.single_partition_of_fp32_groups
        )
        return found

    def weights(self) -> dict[str, Tensor]:
        """Copies of this rank's flat parts on the CPU."""
        return {f"flat-{place}": part.detach().to("cpu", copy=True) for place, part in enumerate(self._flat())}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put this rank's flat parts back, and what the model computes with."""
        optimizer = self._engine.optimizer
        with torch.no_grad():
            for place, part in enumerate(self._flat()):
                part.copy_(weights[f"flat-{place}"])
                if self._engine.zero_optimization_stage() == 3:
                    optimizer._reassign_or_swap_out_partitioned_parameters(place)
            if self._engine.zero_optimization_stage() == 3:
                # Small parameters are kept whole on every rank between steps; they must be gathered anew.
                optimizer.persistent_parameters and optimizer.persistent_parameters[0].partition(optimizer.persistent_parameters)
                optimizer.persistent_parameters and optimizer.persistent_parameters[0].all_gather(optimizer.persistent_parameters)
            else:
                optimizer.update_lp_params()

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """`flat-<n>/<key>` -> this rank's part of AdamW's state."""
        state = self._engine.optimizer.optimizer.state
        return {
            f"flat-{place}/{key}": value.detach().to("cpu", copy=True)
            for place, part in enumerate(self._flat())
            for key, value in state.get(part, {}).items()
        }

    def load_optimizer_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `optimizer_tensors`."""
        state, flat = self._engine.optimizer.optimizer.state, self._flat()
        for path, tensor in tensors.items():
            where, _, key = path.rpartition("/")
            part = flat[int(where.removeprefix("flat-"))]
            target = tensor if key == "step" and part.device.type == "cpu" else tensor.to(part.device)
            state[part][key] = target.clone()

    def gathered(self) -> dict[str, Tensor]:
        """The whole trainable parameters on rank 0, one at a time through the device."""
        named = dict(self._engine.module.named_parameters())
        whole: dict[str, Tensor] = {}
        for name in self._names:
            with self._gather([named[name]], enabled=self._engine.zero_optimization_stage() == 3):
                if self.ranks.rank == 0:
                    whole[name] = named[name].detach().to("cpu", copy=True)
        return whole

    def close(self) -> None:
        """Take DeepSpeed's hooks and buffers down, and give torch back the function that ZeRO-3 leaves replaced.

        Its replacement adds the bias in another step: a trial that came next in this process would have other bits than in a fresh one.
        """
        self._engine.destroy()
        torch.nn.functional.linear = _LINEAR


def _deepspeed(device: torch.device) -> Any:
    """The package, quiet. It picks its accelerator on import, by itself wrongly where a GPU driver is there but not to be used."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # Its own calls of torch.distributed, in every step, use names that torch 2.13 has deprecated.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # The shared-memory collective would be compiled on first use (77 s, needs gcc and ninja); gloo does the same.
    import deepspeed  # type: ignore[import-untyped]  # ships no types

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _fitted(config: Mapping[str, Any], trainable: int) -> dict[str, Any]:
    """The configuration with buckets no larger than what learns: DeepSpeed's default of 5e8 elements takes 2 GB even for a small model."""
    # Even: stages 1 and 2 align their parts to two elements and assert that a bucket is so, too (DeepSpeed 0.19, stage_1_and_2.py:390).
    bucket = max(2, min(LARGEST_BUCKET, trainable + trainable % 2))
    zero = {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket} | dict(config["zero_optimization"])
    return {**config, "zero_optimization": zero}


@contextmanager
def _torchs_own_linear() -> Iterator[None]:
    """Look with the function that one process looks with, so that scores have the bits that `lfray.rescore` gets."""
    replaced = torch.nn.functional.linear
    torch.nn.functional.linear = _LINEAR
    try:
        yield
    finally:
        torch.nn.functional.linear = replaced


def _autocast_forward(model: nn.Module, device: torch.device) -> None:
    """Compute in bf16 while training, over fp32 weights. DeepSpeed's own autocast would also round what it gathers for an evaluation."""
    forward = model.forward

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=model.training):
            return forward(*args, **kwargs)

    model.forward = wrapped
