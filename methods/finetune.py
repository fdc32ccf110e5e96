"""Fine-tuning with a plain loss: of the whole model, of its classifier or biases alone, or of one after the other."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from methods.batches import generator
from methods.clip import ClipClassifier
from methods.objectives import contrast_with_other_classes, prompt_contrastive
from methods.strategy import RoundStrategy, Settings


class FinetuneSettings(Settings):
    """Hyper-parameters of fine-tuning."""

    t: float = Field(0.05, gt=0, description="temperature of the contrastive loss")


class Finetune(RoundStrategy):
    """Fine-tune like you pretrain (FLYP, arXiv 2212.00638): the contrastive loss with class prompts as texts.

    Every image of a round shows the target, so the text-to-image half has no negatives and is zero; the image-to-text
    half contrasts the target's prompt with those of the other classes. No protected image is used: the whole batch is
    target images.
    """

    SETTINGS = FinetuneSettings
    settings: FinetuneSettings
    uses_protected = False

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """FLYP's loss on the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.t)


class WCCLSettings(Settings):
    """Hyper-parameters of WCCL."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"weight": (0.1, 0.25, 0.5)}

    weight: float = Field(0.25, ge=0, le=1, description="weight of the target's loss; the protected one has the rest")
    t: float = Field(0.05, gt=0, description="temperature of the contrastive losses")
    target_share: float = Field(0.25, gt=0, lt=1, description="share of a batch that shows the target")


class WCCL(RoundStrategy):
    """Weighted combination of contrastive losses on target and protected images.

    A baseline that arXiv 2410.03955 names; no code of it is published. Here both losses are the two-way contrastive
    objective F of that paper, by the batch alone: each target image against the protected ones, and each protected
    image against all images of other classes. The protected half is shared by all protected classes, hence a default
    weight below 1/2.
    """

    SETTINGS = WCCLSettings
    settings: WCCLSettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """weight F(target) + (1 - weight) F(protected)."""
        targets, weight = len(self.batches.target_rows), self.settings.weight
        losses = contrast_with_other_classes(logits * self.temperature, labels, self.settings.t)
        return weight * losses[:targets].mean() + (1 - weight) * losses[targets:].mean()


class PartSettings(Settings):
    """Settings shared by methods that train a part of the model; a few weights want a larger learning rate than all."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (3e-4, 1e-3, 3e-3, 1e-2), "target_share": (0.1, 0.25, 0.5)}

    lr: float = Field(3e-3, ge=0, le=1, description="peak learning rate of AdamW")
    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")
    target_share: float = Field(0.25, gt=0, lt=1, description="share of a batch that shows the target")


class TrainsPart(RoundStrategy):
    """Trains a part of the model.

    The rest is frozen for the round, running statistics included, and then as trainable as it was. Nothing is kept for
    a backward pass through it.
    """

    def trained_part(self) -> list[nn.Parameter]:
        """The parameters to train; those that do not exist yet are added to the model."""
        raise NotImplementedError

    def prepare_model(self) -> None:
        """Freeze all else."""
        part = self.trained_part()
        self._trainable = {parameter: parameter.requires_grad for parameter in self.model.parameters()}
        self.model.eval().requires_grad_(False)
        for parameter in part:
            parameter.requires_grad_(True)

    def unfreeze(self) -> None:
        """Make every parameter as trainable as it was."""
        for parameter, trainable in self._trainable.items():
            parameter.requires_grad_(trainable)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.unfreeze()
        self._trainable = {}


class PartStrategy(TrainsPart):
    """Cross-entropy on target and protected images that trains a part of the model."""

    SETTINGS = PartSettings
    settings: PartSettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.tau)


class LinearProbeSettings(PartSettings):
    """Hyper-parameters of the linear probe."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = PartSettings.GRID | {"lr": (3e-3, 1e-2, 3e-2, 1e-1)}

    lr: float = Field(3e-2, ge=0, le=1, description="peak learning rate of AdamW")


class LinearProbe(PartStrategy):
    """A linear classifier on frozen image features (arXiv 2103.00020, section 3.2), from the zero-shot weights.

    Of a ``ClipClassifier`` the class features are trained, through an offset on each, and kept at unit length and
    without bias, so that the untrained probe is the old model; the paper's probe starts at random and is a logistic
    regression. Weight decay pulls the offsets to 0, so the classifier to the zero-shot one. Of a plain classifier the
    last ``nn.Linear`` is trained.

    Raises:
        ValueError: a plain classifier has no such layer.
    """

    SETTINGS = LinearProbeSettings
    settings: LinearProbeSettings

    def trained_part(self) -> list[nn.Parameter]:
        """Offsets, or weight and bias of the last layer."""
        if isinstance(self.model, ClipClassifier):
            return [self.model.add_offsets()]
        layers = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ValueError(
                f"a linear probe trains the last nn.Linear, and {type(self.model).__name__} has none: use finetune"
            )
        return list(layers[-1].parameters())


class LPFTSettings(LinearProbeSettings):
    """Hyper-parameters of LP-FT."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = (
        LinearProbeSettings.GRID | Settings.GRID | {"probe_lr": LinearProbeSettings.GRID["lr"]}
    )

    lr: float = Field(3e-5, ge=0, le=1, description="peak learning rate of AdamW, of the fine-tuning")
    probe_lr: float = Field(3e-2, ge=0, le=1, description="peak learning rate of AdamW, of the linear probe")
    first_share: float = Field(0.5, ge=0, lt=1, description="share of the steps that train the linear probe alone")


class LPFT(LinearProbe):
    """Linear probing, then full fine-tuning (arXiv 2202.10054): a classifier that fits distorts the features less.

    The first ``first_share`` of the steps are those of ``LinearProbe``; then all weights are trained from there, by the
    same loss. Each phase has an optimizer, a learning rate, a warm-up and a decay of its own; both cost the budget of
    any method. No point of the first phase is a candidate.

    Differences from the paper, made knowingly:

    * Its classifier starts at random. Here it starts from the zero-shot weights, and as its weights are class features
      with offsets, fine-tuning trains the text tower behind the features, too.
    * The probe is trained for a given number of steps, by AdamW, whether or not it has converged.
    """

    VERSION = 2
    SETTINGS = LPFTSettings
    settings: LPFTSettings

    @property
    def first_steps(self) -> int:
        """Those of the probe."""
        return int(self.settings.first_share * self.settings.steps)

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """As any method, with an optimizer for the first phase alone."""
        super().check_model_and_optimizer(**kwargs)
        self.start_optimizer(self.settings.probe_lr, self.first_steps)

    def _before_training_iteration(self, **kwargs: Any) -> None:
        super()._before_training_iteration(**kwargs)
        if len(self.losses) == self.first_steps:
            self.unfreeze()
            self.model.train()
            self.start_optimizer(self.settings.lr, self.settings.steps - self.first_steps)


class BitFit(PartStrategy):
    """Only the biases of all layers, those of normalisations among them (BitFit, arXiv 2106.10199).

    The paper trains a new classification layer as well; here the classifier is there already, and of a
    ``ClipClassifier`` both towers' biases are trained. A bias that is frozen stays so.

    Raises:
        ValueError: the model has no bias to train.
    """

    def trained_part(self) -> list[nn.Parameter]:
        """Parameters that are named as PyTorch names biases: ``bias``, ``in_proj_bias``."""
        named = self.model.named_parameters()
        biases = [p for name, p in named if p.requires_grad and name.rpartition(".")[2].endswith("bias")]
        if not biases:
            raise ValueError(f"bitfit trains biases, and {type(self.model).__name__} has none: use linear-probe")
        return biases


class HeadsOnlySettings(PartSettings):
    """Hyper-parameters of training the heads alone."""

    head_rank: int = Field(8, ge=1, description="rank of the task-dependent heads")


class HeadsOnly(PartStrategy):
    """Only the task-dependent heads on the text projection (arXiv 2410.03955, section 4), both towers frozen.

    The paper trains them together with everything else; alone they show what they can do without the rest.

    Raises:
        ValueError: the model is not a ``ClipClassifier``.
    """

    SETTINGS = HeadsOnlySettings
    settings: HeadsOnlySettings

    def trained_part(self) -> list[nn.Parameter]:
        """The heads."""
        if not isinstance(self.model, ClipClassifier):
            raise ValueError(
                f"heads-only needs a ClipClassifier, and {type(self.model).__name__} is none: use linear-probe"
            )
        return self.model.add_heads(self.settings.head_rank, generator(self.seed, "heads"))
