"""Decoupled training: representation first, classifier afterwards (Kang et al. 2020)."""

from typing import Any

import ltbench

CITE = "Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR"


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    """Offer the two-stage classifiers and the methods of the same ids."""
    for id, target, summary in [
        ("crt", "crt:ClassifierRetraining", "A new linear head trained on class-balanced batches, backbone frozen"),
        ("lws", "lws:LearnableScaling", "One learned scale per class, on class-balanced batches, all else frozen"),
        ("tau-norm", "tau_norm:TauNormalised", "Class vectors over their norm to the power tau, tau from validation"),
        ("ncm", "ncm:NearestClassMean", "The nearest class mean of features by cosine"),
    ]:
        registry.add("classifier", id, f"ltbench_decoupling.{target}", summary=summary, cite=CITE)
        method = f"ltbench_decoupling.methods:{id.upper().replace('-', '_')}"
        registry.add("method", id, method, summary=summary, cite=CITE)
