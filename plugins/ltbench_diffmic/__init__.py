"""DiffMIC: classification by diffusion over the label vector, and the rows of its ablation."""

import ltbench

CITE = "Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI"
METHODS = [
    ("diffmic", "DIFFMIC", "A label vector is denoised around the prediction of a global and local guide"),
    ("diffmic-basic", "BASIC", "ResNet-18 with cross-entropy, the paper's row without diffusion"),
    ("diffmic-c1", "C1", "diffmic without guide: the chain starts at zero and sees the image alone"),
    ("diffmic-c2", "C2", "diffmic with the guide but without discrepancy regularisation"),
    ("dcg-only", "DCG_ONLY", "The guide of diffmic alone, trained as it is there (control)"),
    ("diffmic-c2-global-only", "GLOBAL_ONLY", "diffmic-c2 around the global prediction alone (control)"),
    ("diffmic-c2-local-only", "LOCAL_ONLY", "diffmic-c2 around the local prediction alone (control)"),
    ("diffmic-s10", "S10", "diffmic with the mean of ten chains an image"),
    ("diffmic-truncated", "TRUNCATED", "diffmic with the sampler of its release: the last N of the T steps"),
]


@ltbench.hookimpl
def ltbench_register(registry):  # type: ignore[no-untyped-def]
    registry.add(
        "classifier",
        "diffmic",
        "ltbench_diffmic.diffmic:DiffMIC",
        summary="Diffusion over the label vector around a global and local guide",
        cite=CITE,
    )
    for id, name, summary in METHODS:
        registry.add("method", id, f"ltbench_diffmic.methods:{name}", summary=summary, cite=CITE)
