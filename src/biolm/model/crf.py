"""A linear-chain conditional random field over labels (Lafferty 2001): scores for which label follows which."""

import torch


class LinearChain(torch.nn.Module):
    """Transition scores, learnt; all 0 they change nothing.

    None for the first and the last label: windows of a long text begin and end anywhere.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.transitions = torch.nn.Parameter(torch.zeros(labels, labels))
        """[i, j]: of label j right behind label i."""

    def loss(self, scores: torch.Tensor, labels: torch.Tensor, passage: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihood of the right labels, summed over the passages of a row.

        `scores` (n, labels), `labels` (n,), `passage` (n,): the passage of each, ascending; those of one passage are
        one sequence. 0 where n is 0.
        """
        if not len(labels):
            return scores.sum() + 0 * self.transitions.sum()
        _, lengths = torch.unique_consecutive(passage, return_counts=True)
        starts = lengths.cumsum(0) - lengths
        place = torch.arange(int(lengths.max()), device=scores.device)
        real = place < lengths[:, None]  # (sequences, longest)
        at = (starts[:, None] + place).clamp(max=len(labels) - 1)
        return self._log_partition(scores[at], real).sum() - self._of_path(scores, labels, starts)

    def _of_path(self, scores: torch.Tensor, labels: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        emitted = scores.gather(1, labels[:, None]).sum()
        inner = torch.ones(len(labels), dtype=torch.bool, device=scores.device)
        inner[starts] = False
        inside = torch.nonzero(inner)[:, 0]
        moved = self.transitions[labels[inside - 1], labels[inside]].sum()
        return emitted + moved

    def _log_partition(self, scores: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """(sequences,) from padded scores (sequences, longest, labels)."""
        total = scores[:, 0]
        for step in range(1, scores.shape[1]):
            following = torch.logsumexp(total[:, :, None] + self.transitions, 1) + scores[:, step]
            total = torch.where(real[:, step, None], following, total)
        return torch.logsumexp(total, 1)
