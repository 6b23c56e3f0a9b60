"""Choice: which member of a family, how sparse, at what cost, and what others would have said."""

from netdial.choice.agreements import Verdict, agreement
from netdial.choice.averaging import Average, average
from netdial.choice.budget import Budget, BudgetError
from netdial.choice.choice import Choice
from netdial.choice.choosing import choose
from netdial.choice.table import Candidate, CandidateTable

__all__ = [
    "Average",
    "Budget",
    "BudgetError",
    "Candidate",
    "CandidateTable",
    "Choice",
    "Verdict",
    "agreement",
    "average",
    "choose",
]
