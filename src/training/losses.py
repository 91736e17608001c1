"""Cross-entropy over named heads, on soft labels, with clips that some head has no label for."""

import torch
from torch import Tensor, nn

from src.data.examples import TARGETS


class EmotionLoss:
    """Weighted sum over heads of the mean cross-entropy of the clips labelled for that head.

    The fused model's is integrated + lam * (speech + face) / 2.
    """

    def __init__(
        self,
        targets: dict[str, str],
        weights: dict[str, float],
        label_smoothing: float,
    ) -> None:
        """Name the heads.

        Args:
            targets: head -> which label it learns (integrated, face or speech).
            weights: head -> its share in the sum.
            label_smoothing: as of ``torch.nn.CrossEntropyLoss``.
        """
        self.targets = targets
        self.weights = weights
        self.criterion = nn.CrossEntropyLoss(reduction="none", label_smoothing=label_smoothing)

    def soft_labels(self, targets: Tensor, n_classes: int) -> Tensor:
        """Class indices (B, 3) to (heads, B, classes); rows of unlabelled clips (-1) are zeros."""
        columns = [TARGETS.index(label) for label in self.targets.values()]
        chosen = targets[:, columns].T
        one_hot = nn.functional.one_hot(chosen.clamp(min=0), n_classes).float()
        return one_hot * (chosen >= 0).unsqueeze(-1)

    def __call__(self, logits: dict[str, Tensor], soft: Tensor, totals: Tensor) -> Tensor:
        """Loss of a part of a batch, such that the parts add up to the loss of the whole.

        Args:
            logits: head -> (b, classes).
            soft: (heads, b, classes) soft labels.
            totals: (heads,) labelled clips of the whole batch, over all its parts and ranks.
        """
        loss = torch.zeros((), device=soft.device)
        for row, name in enumerate(self.targets):
            weight = soft[row].sum(-1)
            labels = soft[row] / weight.clamp(min=1e-6).unsqueeze(-1)
            each = self.criterion(logits[name].float(), labels)
            mean = (each * weight).sum() / totals[row].clamp(min=1e-6)
            loss = loss + self.weights[name] * mean
        return loss
