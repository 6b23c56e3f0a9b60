"""Terms of a report: what each means, in a sentence, with its equation; shown where a reader points at one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term: what it is called, what it means, and its equation, which may be empty."""

    name: str
    meaning: str
    equation: str = ""


TERMS = {
    "lambda": Term(
        "λ, complexity",
        "Weighs how complex a network is against how well it fits. Large λ gives simpler networks.",
        "objective(λ) = fit + λ · penalty / N",
    ),
    "nats": Term(
        "nats",
        "Unit of information with natural logarithms. A loss of one nat: the true answer was given a probability of 1/e.",
        "1 nat = 1/ln 2 bits",
    ),
    "nll": Term(
        "NLL, log loss",
        "Mean negative log probability of the true answers, in nats per example; lower is better.",
        "NLL = −(1/n) Σ ln p(yᵢ | xᵢ)",
    ),
    "accuracy": Term("accuracy", "Share of examples whose likeliest class is the true one."),
    "balanced": Term(
        "balanced accuracy",
        "Mean of the recalls of the classes: rare classes count as much as common ones.",
        "(1/C) Σ right in class c / examples of class c",
    ),
    "auc": Term(
        "AUC",
        "Probability that an example of the class gets a higher score for it than one of another class; 0.5 is chance.",
        "AUC = P(score of a true one > score of a false one)",
    ),
    "precision": Term(
        "precision",
        "Of the examples named as this class, the share that are of it.",
        "TP / (TP + FP)",
    ),
    "recall": Term(
        "recall", "Of the examples of this class, the share that are named so.", "TP / (TP + FN)"
    ),
    "f1": Term("F1", "Harmonic mean of precision and recall.", "2 TP / (2 TP + FP + FN)"),
    "rmse": Term(
        "RMSE",
        "Root mean squared error, in the units of the target.",
        "√( (1/n) Σ (ŷᵢ − yᵢ)² )",
    ),
    "r2": Term(
        "R²",
        "Share of the target's variance that is explained; 0 is what the mean of the targets gets, below 0 is worse than that.",
        "1 − Σ (ŷᵢ − yᵢ)² / Σ (yᵢ − ȳ)²",
    ),
    "kl": Term(
        "KL",
        "Kullback–Leibler divergence: how far the posterior of the weights is from the prior; 0 where data changed nothing.",
        "KL(q‖p) = ∫ q(w) ln( q(w) / p(w) ) dw",
    ),
    "effective": Term(
        "effective parameters",
        "How many weights the data determine: one counts 1 if it is known sharply, 0 if its posterior is its prior.",
        "γ = Σ (1 − σᵢ² / α)",
    ),
    "norm": Term(
        "norm",
        "Size of the weights that λ multiplies: sum of absolute values under l1, of squares under l2.",
        "‖w‖₁ = Σ |wᵢ|,  ‖w‖² = Σ wᵢ²",
    ),
    "kept": Term(
        "weights that carry",
        "The fewest weights of a layer that together carry 99 % of its squared norm. The rest is close to 0.",
        "least k with Σ of the k largest wᵢ² ≥ 0.99 Σ wᵢ²",
    ),
    "snr": Term(
        "signal to noise",
        "Mean of a weight's posterior divided by its standard deviation. Below 1 even the sign of the weight is uncertain.",
        "|μᵢ| / σᵢ",
    ),
    "predictive": Term(
        "predictive",
        "Predictions averaged over networks drawn from the posterior, in place of the one network of mean weights.",
        "p(y | x) = ∫ p(y | x, w) q(w) dw",
    ),
    "se": Term(
        "s.e., standard error",
        "How far a mean over so many examples may be off by chance; here, of the difference to the best member.",
        "s.e. = s / √n",
    ),
    "constant": Term(
        "a constant",
        "The best prediction that looks at no input: class frequencies, or the mean target.",
    ),
    "calibration": Term(
        "calibration",
        "Whether answers given with 80 % are right in 80 % of cases: points on the diagonal.",
        "ECE = Σ (n_b / n) |accuracy_b − confidence_b|",
    ),
    "coverage": Term(
        "coverage",
        "Share of examples that lie in the interval of that probability; the two should agree.",
        "P( |y − ŷ| ≤ half-width )",
    ),
    "macs": Term("MACs", "Multiply-accumulate operations for one example."),
    "importance": Term(
        "importance",
        "By how much the loss on validation rows rises when the column is shuffled among them, over five shuffles.",
        "loss(shuffled) − loss",
    ),
    "objective": Term(
        "objective",
        "What training minimises: fit plus complexity, in nats per training example.",
        "fit + λ · penalty / N",
    ),
}
"""Terms by the key under which templates name them."""
