"""Formulas: trees of elementary functions whose structure is chosen, for regression and for ranking."""

from netdial.structure.formulas.fitting import FormulaFit, fit_formula
from netdial.structure.formulas.operations import FUNCTIONS, Elementary
from netdial.structure.formulas.trees import formula_of, formula_space

__all__ = [
    "FUNCTIONS",
    "Elementary",
    "FormulaFit",
    "fit_formula",
    "formula_of",
    "formula_space",
]
