"""`SingleStepper`: one process, one device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lfray.engine.contract import EngineFacts
from lfray.engine.kernels import pick_kernel
from lfray.engine.ranks import Alone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from lfray.engine.contract import Batch, FitPlan, Objective
    from lfray.engine.ranks import Ranks


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in two groups: matrices decay; biases and norm weights (one dimension) do not, as in transformers."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(model: nn.Module, plan: FitPlan) -> torch.optim.AdamW:
    """Fused AdamW of torch over the model's trainable parameters."""
    return torch.optim.AdamW(
        parameter_groups(model, plan.weight_decay),
        lr=plan.learning_rate,
        betas=plan.adam_betas,
        eps=plan.adam_epsilon,
        fused=True,
    )


class SingleStepper:
    """AdamW on one device; bf16 is autocast over fp32 weights."""

    sharded = False

    def __init__(self, model: nn.Module, objective: Objective, plan: FitPlan | None, *, device: torch.device) -> None:
        """Take the model to the device. Without a plan it can score, not update."""
        self._model = model.to(device)
        self.ranks: Ranks = Alone()
        self._kernel = pick_kernel(model, device)
        self._objective = objective
        self._device = device
        self._named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._clip = None if plan is None else plan.max_grad_norm
        self._bf16 = plan is not None and plan.precision == "bf16"
        self._optimizer = adamw(model, plan) if plan is not None and self._named else None

    @property
    def facts(self) -> EngineFacts:
        """One process."""
        return EngineFacts("single", self._kernel, 1)

    @property
    def device(self) -> torch.device:
        """Where batches must be."""
        return self._device

    def update(self, micro_batches: Sequence[Batch], learning_rate: float, *, rows: int) -> Tensor:
        """One AdamW step on the mean loss over all rows of the micro-batches."""
        assert self._optimizer is not None, "a stepper without a plan cannot update"
        self._model.train()
        total = torch.zeros((), device=self._device)
        for batch in micro_batches:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                loss = batch.counted(self._objective.losses(self._model, batch)).sum() / rows
            loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 leaves it untyped
            total += loss.detach()
        self._descend(learning_rate)
        return total

    def _descend(self, learning_rate: float) -> None:
        """Clip the gradients, step, and forget them."""
        assert self._optimizer is not None
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._named.values(), self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def losses(self, batch: Batch) -> Tensor:
        """Row losses in evaluation mode, fp32."""
        self._model.eval()
        with torch.inference_mode():
            return self._objective.losses(self._model, batch).float()

    def scores(self, batch: Batch) -> Tensor:
        """Row scores in evaluation mode, fp32."""
        self._model.eval()
        with torch.inference_mode():
            return self._objective.scores(self._model, batch).float()

    def weights(self) -> dict[str, Tensor]:
        """Copies of the trainable parameters on the CPU."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self._named.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put trainable parameters back, by name."""
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(weights[name])

    def gathered(self) -> dict[str, Tensor]:
        """The same as `weights`."""
        return self.weights()

    def close(self) -> None:
        """Nothing outlives it."""

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """`<parameter>/<key>` -> tensor, for every state of AdamW (exp_avg, exp_avg_sq, step)."""
        assert self._optimizer is not None
        by_id = {id(parameter): name for name, parameter in self._named.items()}
        return {
            f"{by_id[id(parameter)]}/{key}": value.detach().to("cpu", copy=True)
            for parameter, state in self._optimizer.state.items()
            for key, value in state.items()
        }

    def load_optimizer_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `optimizer_tensors`."""
        assert self._optimizer is not None
        for path, tensor in tensors.items():
            name, _, key = path.rpartition("/")
            parameter = self._named[name]
            target = tensor if key == "step" and self._device.type == "cpu" else tensor.to(self._device)
            self._optimizer.state[parameter][key] = target.clone()
