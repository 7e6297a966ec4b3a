"""The plugin author's contract: one abstract base class per kind of component."""

from ltbench.interfaces.classifier import Batch, Batches, Classifier, Stage
from ltbench.interfaces.context import Context, ReferenceModel, Stateful, Task
from ltbench.interfaces.dataset import Dataset, ImagePool, ImageTable, Splits
from ltbench.interfaces.generator import Generator, Guide
from ltbench.interfaces.loss import Loss
from ltbench.interfaces.metric import GenerationRecord, Metric, PredictionRecord
from ltbench.interfaces.sampler import ClassSampler, EpochPlan, EpochView, Feedback, Sampler, in_batches
from ltbench.interfaces.wrapping import WrappingSampler

__all__ = [
    "Batch",
    "Batches",
    "ClassSampler",
    "Classifier",
    "Context",
    "Dataset",
    "EpochPlan",
    "EpochView",
    "Feedback",
    "GenerationRecord",
    "Generator",
    "Guide",
    "ImagePool",
    "ImageTable",
    "Loss",
    "Metric",
    "PredictionRecord",
    "ReferenceModel",
    "Sampler",
    "Splits",
    "Stage",
    "Stateful",
    "Task",
    "WrappingSampler",
    "in_batches",
]
