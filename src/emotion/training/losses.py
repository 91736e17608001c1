"""Cross-entropy over named heads, on soft labels, with clips that some head has no label for."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from emotion.data.examples import TARGETS, Example

CLASS_WEIGHT_POWERS = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}  # of --class_weights


class EmotionLoss:
    """Weighted sum over heads of the mean cross-entropy of the clips labelled for that head.

    The fused model's is integrated + lam * (speech + face) / 2.
    """

    def __init__(
        self,
        targets: dict[str, str],
        weights: dict[str, float],
        label_smoothing: float,
        class_weights: dict[str, Tensor] | None = None,
    ) -> None:
        """Name the heads.

        Args:
            targets: head -> which label it learns (integrated, face or speech).
            weights: head -> its share in the sum.
            label_smoothing: as of ``torch.nn.CrossEntropyLoss``.
            class_weights: head -> (classes,) weight of a clip by its label; all alike without.
        """
        self.targets = targets
        self.weights = weights
        self.class_weights = class_weights or {}
        self.criterion = nn.CrossEntropyLoss(reduction="none", label_smoothing=label_smoothing)

    def soft_labels(self, targets: Tensor, n_classes: int) -> Tensor:
        """Class indices (B, 3) to (heads, B, classes).

        A row adds up to the clip's weight: 1, or that of its class, and 0 for an unlabelled one
        (-1). Mixing rows therefore mixes labels and weights alike.
        """
        columns = [TARGETS.index(label) for label in self.targets.values()]
        chosen = targets[:, columns].T
        one_hot = nn.functional.one_hot(chosen.clamp(min=0), n_classes).float()
        for row, head in enumerate(self.targets):
            if head in self.class_weights:
                one_hot[row] *= self.class_weights[head].to(one_hot.device)
        return one_hot * (chosen >= 0).unsqueeze(-1)

    def __call__(self, logits: dict[str, Tensor], soft: Tensor, totals: Tensor) -> Tensor:
        """Loss of a part of a batch, such that the parts add up to the loss of the whole.

        Args:
            logits: head -> (b, classes).
            soft: (heads, b, classes) soft labels.
            totals: (heads,) weight of the labelled clips of the whole batch, over all its parts
                and ranks.
        """
        loss = torch.zeros((), device=soft.device)
        for row, name in enumerate(self.targets):
            weight = soft[row].sum(-1)
            labels = soft[row] / weight.clamp(min=1e-6).unsqueeze(-1)
            each = self.criterion(logits[name].float(), labels)
            mean = (each * weight).sum() / totals[row].clamp(min=1e-6)
            loss = loss + self.weights[name] * mean
        return loss


def class_weights(
    choice: str,
    targets: dict[str, str],
    examples: Sequence[Example],
    n_classes: int,
    often: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """Head -> (classes,) weights for rare classes to count as much as frequent ones.

    ``balanced`` is clips / (classes * clips of the class), which gives every class the same share
    in the loss; ``sqrt`` is its square root, halfway; ``none`` gives no weights at all. ``often``:
    how often training meets each clip, where that differs.
    """
    power = CLASS_WEIGHT_POWERS[choice]
    if not power:
        return {}
    weights = {}
    for head, label in targets.items():
        labels = torch.tensor([getattr(example, label) for example in examples])
        known = labels >= 0
        met = None if often is None else torch.from_numpy(often)[known]
        count = torch.bincount(labels[known], weights=met, minlength=n_classes)
        there = count.where(count > 0, 1)
        weights[head] = ((count.sum() / (n_classes * there)) ** power).float()
    return weights
