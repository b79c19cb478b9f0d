"""`DdpStepper`: several processes, each with all of the weights; torch's DistributedDataParallel averages the gradients."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lfray.engine.contract import EngineFacts
from lfray.engine.ranks import Gang
from lfray.engine.single import SingleStepper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from lfray.engine.contract import Batch, FitPlan, Objective


class DdpStepper(SingleStepper):
    """AdamW on several devices with equal weights. Scoring, weights and optimizer are each rank's own and all equal."""

    def __init__(self, model: nn.Module, objective: Objective, plan: FitPlan | None, *, device: torch.device) -> None:
        """Join the default process group. Without a plan, or with nothing to train, it can score, not update."""
        super().__init__(model, objective, plan, device=device)
        self.ranks = Gang()
        # find_unused_parameters: some models have parameters that no loss reaches, which DDP would wait for; besides, buckets then
        # stay as they are first made, so that a resumed run adds up in the order of an undisturbed one.
        self._shared = (
            DistributedDataParallel(
                self._model,
                device_ids=[device] if device.type == "cuda" else None,
                forward_sync_buffers=False,
                find_unused_parameters=True,
                gradient_as_bucket_view=True,
            )
            if self._optimizer is not None
            else None
        )

    @property
    def facts(self) -> EngineFacts:
        """Read back from the wrapper and its process group."""
        if self._shared is None:
            return EngineFacts("ddp", self._kernel, dist.get_world_size())
        assert isinstance(self._shared, DistributedDataParallel)
        return EngineFacts("ddp", self._kernel, dist.get_world_size(self._shared.process_group))

    def update(self, micro_batches: Sequence[Batch], learning_rate: float, *, rows: int) -> Tensor:
        """One AdamW step on the mean loss over the rows of all ranks; gradients travel with the last micro-batch."""
        assert self._shared is not None, "a stepper without a plan cannot update"
        self._shared.train()  # type: ignore[no-untyped-call]  # torch 2.13 leaves it untyped
        part = torch.zeros((), device=self._device)
        for turn, batch in enumerate(micro_batches, 1):
            with nullcontext() if turn == len(micro_batches) else self._shared.no_sync():
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                    loss = batch.counted(self._objective.losses(self._shared, batch)).sum() / rows
                # DDP averages over ranks; the sum of the parts is the mean over rows.
                (loss * self.ranks.size).backward()  # type: ignore[no-untyped-call]  # torch 2.13 leaves it untyped
            part += loss.detach()
        self._descend(learning_rate)
        return part

    def gathered(self) -> dict[str, Tensor]:
        """Rank 0's weights, which are everyone's."""
        return self.weights() if self.ranks.rank == 0 else {}
