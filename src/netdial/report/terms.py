"""Terms of a page: what each means, in a sentence, with its equation; shown where a reader points at one.

Every page carries them. In headings, hints, tiles and heads of tables, the first of a term's words in each section becomes a
button that explains it (``browser/terms.js``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term: what it is called, what it means, its equation, which may be empty, and the words by which pages name it."""

    name: str
    meaning: str
    equation: str = ""
    words: tuple[str, ...] = ()


TERMS = {
    "lambda": Term(
        "λ, complexity",
        "Weighs how complex a network is against how well it fits. Large λ gives simpler networks.",
        "objective(λ) = fit + λ · penalty / N",
        words=(
            "complexity λ",
            "λ",
        ),
    ),
    "nats": Term(
        "nats",
        "Unit of information with natural logarithms. A loss of one nat: the true answer was given a probability of 1/e.",
        "1 nat = 1/ln 2 bits",
        words=(
            "nats",
            "nat",
        ),
    ),
    "nll": Term(
        "NLL, log loss",
        "Mean negative log probability of the true answers, in nats per example; lower is better. Numbers count standardised.",
        "NLL = −(1/n) Σ ln p(yᵢ | xᵢ)",
        words=(
            "negative log-likelihood",
            "NLL",
            "log loss",
        ),
    ),
    "accuracy": Term(
        "accuracy",
        "Share of examples whose likeliest class is the true one.",
        words=(
            "accuracy",
            "acc.",
        ),
    ),
    "balanced": Term(
        "balanced accuracy",
        "Mean of the recalls of the classes: rare classes count as much as common ones.",
        "(1/C) Σ right in class c / examples of class c",
        words=(
            "balanced accuracy",
            "balanced",
        ),
    ),
    "auc": Term(
        "AUC",
        "Probability that an example of the class gets a higher score for it than one of another class; 0.5 is chance.",
        "AUC = P(score of a true one > score of a false one)",
        words=("AUC",),
    ),
    "precision": Term(
        "precision",
        "Of the examples named as this class, the share that are of it.",
        "TP / (TP + FP)",
        words=("precision",),
    ),
    "recall": Term(
        "recall",
        "Of the examples of this class, the share that are named so.",
        "TP / (TP + FN)",
        words=("recall",),
    ),
    "f1": Term(
        "F1", "Harmonic mean of precision and recall.", "2 TP / (2 TP + FP + FN)", words=("F1",)
    ),
    "rmse": Term(
        "RMSE",
        "Root mean squared error, in the units of the target; of several targets in standard deviations of each.",
        "√( (1/n) Σ (ŷᵢ − yᵢ)² )",
        words=(
            "root mean squared error",
            "RMSE",
        ),
    ),
    "squared": Term(
        "squared error",
        "What losses of regressions are compared by, in variances of the target on training rows: 1 is what their mean gets.",
        "(1/n) Σ (ŷᵢ − yᵢ)² / Var(y)",
        words=("squared error",),
    ),
    "r2": Term(
        "R²",
        "Share of the target's variance that is explained; 0 is what the mean of the targets gets, below 0 is worse than that.",
        "1 − Σ (ŷᵢ − yᵢ)² / Σ (yᵢ − ȳ)²",
        words=(
            "explained variance R²",
            "R²",
        ),
    ),
    "kl": Term(
        "KL",
        "Kullback–Leibler divergence: how far the posterior of the weights is from the prior; 0 where data changed nothing.",
        "KL(q‖p) = ∫ q(w) ln( q(w) / p(w) ) dw",
        words=(
            "information in the weights, KL",
            "KL",
        ),
    ),
    "effective": Term(
        "effective parameters",
        "How many weights the data determine: one counts 1 if it is known sharply, 0 if its posterior is its prior.",
        "γ = Σ (1 − σᵢ² / α)",
        words=(
            "effective parameters",
            "eff. parameters",
        ),
    ),
    "norm": Term(
        "norm",
        "Size of the weights that λ multiplies: sum of their absolute values (l1), squares (l2) or logarithms (log-sum).",
        "‖w‖₁ = Σ |wᵢ|,  ‖w‖² = Σ wᵢ²",
        words=(
            "norm of the weights",
            "squared norm",
            "norm",
        ),
    ),
    "kept": Term(
        "weights that carry",
        "The fewest weights of a layer that together carry 99 % of its squared norm. The rest is close to 0.",
        "least k with Σ of the k largest wᵢ² ≥ 0.99 Σ wᵢ²",
        words=("weights that carry",),
    ),
    "snr": Term(
        "signal to noise",
        "Mean of a weight's posterior divided by its standard deviation. Below 1 even the sign of the weight is uncertain.",
        "|μᵢ| / σᵢ",
        words=(
            "signal to noise",
            "signal-to-noise",
        ),
    ),
    "predictive": Term(
        "predictive",
        "Predictions averaged over networks drawn from the posterior, in place of the one network of mean weights.",
        "p(y | x) = ∫ p(y | x, w) q(w) dw",
        words=(
            "posterior predictive",
            "averaged over the posterior",
            "predictive",
        ),
    ),
    "se": Term(
        "s.e., standard error",
        "How far a mean over so many examples may be off by chance; here, of the difference to the best member.",
        "s.e. = s / √n",
        words=(
            "standard error",
            "s.e.",
        ),
    ),
    "constant": Term(
        "a constant",
        "The best prediction that looks at no input: class frequencies, or the mean target.",
        words=("a constant",),
    ),
    "calibration": Term(
        "calibration",
        "Whether answers given with 80 % are right in 80 % of cases: points on the diagonal.",
        "ECE = Σ (n_b / n) |accuracy_b − confidence_b|",
        words=("calibration",),
    ),
    "coverage": Term(
        "coverage",
        "Share of examples in the interval of that probability; the two should agree on test data. "
        "Validation data set the widths.",
        "P( |y − ŷ| ≤ half-width )",
        words=("coverage",),
    ),
    "macs": Term(
        "MACs",
        "Multiply-accumulate operations for one example.",
        words=(
            "MACs",
            "multiplications",
        ),
    ),
    "importance": Term(
        "importance",
        "How much the loss on validation rows rises when scikit-learn shuffles the column among them, over five shuffles.",
        "loss(shuffled) − loss",
        words=("importance",),
    ),
    "objective": Term(
        "objective",
        "What training minimises: fit plus complexity, in nats per training example.",
        "fit + λ · penalty / N",
        words=("objective",),
    ),
    "bits": Term(
        "bits",
        "Unit of information with logarithms to base 2: one bit is a fair coin's toss.",
        "1 bit = ln 2 nats",
        words=("bits", "bit"),
    ),
    "mae": Term(
        "mean absolute error",
        "Mean distance of predictions from the true values, in the units of the target.",
        "(1/n) Σ |ŷᵢ − yᵢ|",
        words=("mean absolute error",),
    ),
    "bias": Term(
        "bias",
        "Mean of predicted − true: above 0, predictions are too high on average.",
        "(1/n) Σ (ŷᵢ − yᵢ)",
    ),
    "residual": Term(
        "residual", "Predicted − true of one example.", "ŷᵢ − yᵢ", words=("residuals", "residual")
    ),
    "rms": Term(
        "RMS weight",
        "Root of the mean square of a layer's weights: their usual size.",
        "√( (1/n) Σ wᵢ² )",
        words=("RMS weight",),
    ),
    "posterior": Term(
        "posterior",
        "What the weights may be once the data were seen: a mean and a standard deviation of each.",
        "q(w) ≈ p(w | data) ∝ p(data | w) p(w)",
        words=("posterior",),
    ),
    "prior": Term(
        "prior", "What the weights may be before any data were seen.", "p(w)", words=("prior",)
    ),
    "evidence": Term(
        "evidence",
        "Probability of the training data under a model, its weights averaged out; it needs no validation data.",
        "ln p(data | λ) = ln ∫ p(data | w) p(w | λ) dw",
        words=("evidence",),
    ),
    "length": Term(
        "description length",
        "Bits that it takes to send the training answers to somebody who knows the inputs and the method.",
        "−log₂ p(data | λ)",
        words=("description length",),
    ),
    "front": Term(
        "front", "Networks for which no other one is both smaller and better.", words=("front",)
    ),
    "density": Term(
        "density",
        "A weight goes where the posterior has high density at 0, measured by its signal to noise.",
        "ln q(wᵢ = 0) − ln q(wᵢ = μᵢ) = −μᵢ² / 2σᵢ²",
        words=("density",),
    ),
    "supernet": Term(
        "supernet",
        "One network that holds every operation of a search space at once, mixed by weights γ.",
        "out = Σ γ_k · op_k(in)",
        words=("supernet",),
    ),
    "gap": Term(
        "discretisation gap",
        "What is lost when a mixture of operations is replaced by its likeliest one.",
        "loss(chosen) − loss(mixture)",
        words=("discretisation gap",),
    ),
    "channels": Term(
        "channels",
        "Outputs of a layer: units of a dense one, maps of a convolution. Without one the next layer gets smaller, too.",
        words=("channels", "channel"),
    ),
    "fit-term": Term(
        "fit term",
        "The part of the objective that looks at data: mean loss of the training examples.",
        "(1/n) Σ −ln p(yᵢ | xᵢ, w)",
        words=("fit term",),
    ),
    "complexity-term": Term(
        "complexity term",
        "The part of the objective that λ weighs: penalty of the weights for each training example.",
        "λ · penalty / N",
        words=("complexity term",),
    ),
}
"""Terms by the key under which templates name them."""
