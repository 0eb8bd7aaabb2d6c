"""The stage of an attacker who learns to tell people apart. Linking, not the re-identification search, picks its epoch.

The search of the papers leaves out windows of the same person and gesture. It rewards an epoch for embedding the
gesture *less*, and says little about the person. Where people show the same gesture in another session, only the
person helps.
"""

from __future__ import annotations

from eventveil.audit.evaluation.protocols import Protocol
from eventveil.training.evaluation.evaluation import embed_windows
from eventveil.training.stages.classify import Attacker, ClassifierStage
from eventveil.training.stages.single_network import StageInputs


class IdentityStage(ClassifierStage):
    """Train a network to tell people apart; the best epoch is the one that links validation people best.

    Args:
        inputs: what every stage needs.
        attacker: the network, with its denoiser if it has one.
        protocol: which of their windows are compared.
    """

    def __init__(self, inputs: StageInputs, attacker: Attacker, protocol: Protocol) -> None:
        super().__init__(inputs, "identity", attacker)
        self.score = "val_linked_mAP"
        self._protocol = protocol

    def validate(self, epoch: int) -> dict[str, float]:
        """Return rank-1 and mAP of single windows linked with the same gesture in another session, with fresh noise."""
        attacker = self.attacker
        embedding_NE = embed_windows(
            self.evaluation_set, attacker.classifier, attacker.denoiser, self.anonymizer, self.name, epoch
        )
        ranking = self._protocol.ranking(embedding_NE)
        return {"val_linked_rank1": ranking.rank1, "val_linked_mAP": ranking.mean_average_precision}
