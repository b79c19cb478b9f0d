from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]  # torch does not export it by name

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with this process alone in it."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
