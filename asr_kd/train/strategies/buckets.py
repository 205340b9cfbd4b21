"""Buckets: weights whose gradients are sent together, since a message for each would cost more than its bytes."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

BUCKET_BYTES = 25_000_000
"""Of gradients in one message, at most."""


def buckets_of(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Weights of one type together, in the order given, up to `BUCKET_BYTES`."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for weight in weights:
        if not buckets or weight.nbytes > room or weight.dtype != buckets[-1][0].dtype:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(weight)
        room -= weight.nbytes
    return buckets


def flat_gradients(bucket: Sequence[nn.Parameter]) -> Tensor:
    """The gradients of a bucket one after the other, (N,); 0 where a weight has none."""
    grads = [weight.new_zeros(weight.shape) if weight.grad is None else weight.grad for weight in bucket]
    return torch.cat([grad.flatten() for grad in grads])


def parts_of(flat_N: Tensor, bucket: Sequence[nn.Parameter]) -> list[Tensor]:
    """Of what `flat_gradients` gave, the part of each weight in its shape."""
    parts = flat_N.split([weight.numel() for weight in bucket])
    return [part.view_as(weight) for part, weight in zip(parts, bucket, strict=True)]
