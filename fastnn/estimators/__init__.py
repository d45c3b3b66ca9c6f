"""scikit-learn's multilayer perceptrons on fastnn's kernels; needs scikit-learn."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "MLPClassifier and MLPRegressor need scikit-learn; "
        "python -m pip install 'fastnn[scikit-learn]' brings it"
    ) from error

from fastnn.estimators.classifier import MLPClassifier
from fastnn.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
