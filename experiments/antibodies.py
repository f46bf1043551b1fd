"""AntiBERTy, a published model of antibodies, with temperatures and plans chosen after training.

The weights are those inside the package antiberty (MIT; BERT, 26 million parameters), the sequences the human V regions
inside anarci (BSD; :mod:`experiments.tools.germlines`); both wheels are read as archives. Rows are the first 91
residues, since all V regions have as many, at most four genes of a family, one allele of each. Every other family
chooses, the rest judges: no judging row is an allele, or a gene of a family, that chose; the greatest share of equal
residues across the split is among the figures. What is measured is averaged within a family, and intervals count
families, not rows. Germlines resemble what the model was trained on (sequences of antibodies, a few mutations away),
so its costs on them are low; what plans differ by is what is asked.

* *Temperatures* for each share of masks, *plans* by the posterior of a profile of 320 passes, *judged* by
  teacher-forced costs, as in :mod:`experiments.reactions`;
* *samples* in 8 steps, optimal and equal, and by the largest probability: the model's own bits per residue, and the
  share of residues as in the nearest of all germlines. A germline's own nearest one of another family is the scale.

The quick form takes made-up families and a tiny model of the same names and random numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import mdm_jax as mdm
from experiments.tools import published_told
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.germlines import (
    RESIDUES,
    family_of,
    genes_of_families,
    germlines,
    halves_of,
    made_up_germlines,
    nearest,
)
from experiments.tools.published_models import (
    Asked,
    answers,
    interval,
    made_up,
    of_real_tokens,
    required_wheel,
    unpacked,
)
from mdm_jax import models
from mdm_jax.support.progress import remark
from mdm_jax.theory import plans

CLAIM = Claim(
    "on V regions of families that chose nothing AntiBERTy with temperatures costs in 8 steps of optimal sizes at most "
    ".02 bits per residue more than in 16 equal ones (upper end of the interval), the temperatures save at least .05 "
    "bits per residue of its NELBO, and in 8 passes the order by the largest probability with equal sizes costs less "
    "than random order with optimal ones",
    source="ours; that 8 optimal steps cost about what 16 equal ones do was known of a probe without temperatures",
    minutes=12,
    seeds=(0, 1, 2, 3, 4, 5),
    wheels=("antiberty", "anarci"),
)
LENGTH, GENES, JUDGING_GENES = 91, 4, 2
ASKED = Asked(encodings=320, most=32, passes=(8,), thresholds=(0.5, 0.9), bare=(8,), samples=8)
QUICK = Asked(
    budgets=(4, 8), encodings=16, most=16, passes=(8,), margin=False, thresholds=(), bare=(8,), samples=4, grid=8
)
MODEL = "antiberty/trained_models/AntiBERTy_md_smooth/"
FILES = (f"{MODEL}config.json", f"{MODEL}pytorch_model.bin", "antiberty/trained_models/vocab.txt")


def run(experiment: Experiment) -> Run:
    """Rows, the model, the questions, and samples."""
    if experiment.quick:
        remark("antibodies: made-up families and a made-up model in the quick form.")
        alleles, source = made_up_germlines(0), made_up("bert", RESIDUES, LENGTH, experiment.folder / "checkpoint")
    else:
        alleles = germlines(required_wheel("anarci"))
        source = unpacked("antiberty", FILES, experiment.folder / "checkpoint")
    loaded = models.load_pretrained(source)
    denoiser = of_real_tokens(loaded, RESIDUES)
    families = genes_of_families(alleles, LENGTH, GENES)
    choosing, judging = halves_of(list(families))
    chose = [sequence for family in choosing for sequence in families[family].values()]
    judges = genes_of_families(alleles, LENGTH, JUDGING_GENES)
    judged = [(family, sequence) for family in judging for sequence in judges[family].values()]
    rows = [tokens_of(chose), tokens_of([sequence for _, sequence in judged])]
    groups = [family for family, _ in judged]
    asked = QUICK if experiment.quick else ASKED
    results = answers(denoiser, loaded.params, rows[0], rows[1], groups, asked, experiment.part)
    cut = {name: sequence[:LENGTH] for name, sequence in alleles.items() if len(sequence) >= LENGTH}
    results["families"] = {"choosing": choosing, "judging": judging}
    results["nearest across the split"] = max(
        nearest(sequence, {name: cut[name] for name in cut if family_of(name) in choosing})[1] for _, sequence in judged
    )
    results["nearest of another family"] = [nearest(sequence, cut, but=family)[1] for family, sequence in judged]
    results["samples"] = experiment.part("samples", lambda: samples(denoiser, loaded.params, results, cut, asked))
    return Run(results, published_told.picture(results, "residue"))


def tokens_of(sequences: list[str]) -> np.ndarray:
    """Residues by their number, int32[rows, length]."""
    return np.array([[RESIDUES.index(letter) for letter in sequence] for sequence in sequences], np.int32)


def samples(
    denoiser: models.Denoiser, params: Any, results: Mapping[str, Any], alleles: Mapping[str, str], asked: Asked
) -> dict[str, Any]:
    """Sequences drawn in 8 steps, by three samplers, with the nearest germline of each."""
    warm = results["temperatures"]
    model = models.calibrated(denoiser, np.asarray(warm["fractions"]), np.asarray(warm["temperatures"]))
    best = next(one["sizes"] for one in results["compared"] if one["steps"] == 8)
    equal = plans.uniform(results["length"], 8)
    told = {}
    for name, sampler in (
        ("optimal", plans.Plan(np.asarray(best), "optimal")),
        ("equal", equal),
        ("largest probability", mdm.rules.surest(equal)),
    ):
        out = mdm.sample(model, params, sampler, rows=asked.samples, length=results["length"], key=mdm.key(5))
        drawn = ["".join(RESIDUES[i] for i in row) for row in np.asarray(out.tokens)]
        bits = -np.asarray(out.log_prob, np.float64) / (results["length"] * np.log(2))
        near = [nearest(sequence, alleles) for sequence in drawn]
        told[name] = {
            "own bits per residue": interval(bits),
            "as the nearest germline": interval([share for _, share in near]),
            "shown": [
                {"sequence": sequence, "bits": float(bit), "germline": germline, "same": share}
                for sequence, bit, (germline, share) in zip(drawn[:3], bits, near)
            ],
        }
    return told


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The verdict, and samples beside it."""
    more: dict[str, Any] = {
        f"samples, {name}: {what}": value
        for name, one in results["samples"].items()
        for what, value in one.items()
        if what != "shown"
    }
    more["greatest share of residues in common across the split"] = results["nearest across the split"]
    more["a germline's share in common with the nearest of another family"] = interval(
        results["nearest of another family"]
    )
    size = (
        f"{results['choosing']} V regions of {len(results['families']['choosing'])} families choose, "
        f"{results['judging']} of {results['groups']} others judge; intervals over families"
    )
    return published_told.concluded(results, "residue", size, more)
