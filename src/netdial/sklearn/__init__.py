"""Families as scikit-learn estimators: ``fit`` trains every complexity at once, ``predict`` takes the λ to use.

    model = FamilyClassifier().fit(X, y)
    model.path_                      # what each λ is worth on the validation part
    model.predict(X)                 # at lam_, the best of them by log loss, or RMSE
    model.predict(X, lam=10)         # at any other λ of the range, without training again

They follow scikit-learn's rules (the constructor only stores, ``fit`` validates, learned attributes end in ``_``) and
pass its ``check_estimator``. Inputs, and regression targets, are standardised by the training part. Predictions are
made in double precision, so that they do not depend on which rows are predicted together: with the network of mean weights or
with the average over the posterior (``using_``), whichever did better on the validation part.
"""

from netdial.core.errors import missing_extra

try:
    import sklearn  # noqa: F401
except ImportError:
    raise missing_extra("netdial.sklearn", "data") from None

from netdial.sklearn.classifier import FamilyClassifier
from netdial.sklearn.regressor import FamilyRegressor

__all__ = ["FamilyClassifier", "FamilyRegressor"]
