"""The solver "lbfgs": SciPy's, on losses and gradients of fastnn's."""

from __future__ import annotations

import time
from typing import Any

import scipy.optimize
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.parallel import _get_threadpool_controller

from fastnn.estimators.engine import Training
from fastnn.estimators.with_engine import WithEngine
from fastnn.progress import progress_bar
from fastnn.rules import RULES

# SciPy's word for a callback that raised StopIteration.
STOPPED_BY_CALLBACK = 99


class WithLBFGS(WithEngine):
    """What `solver="lbfgs"` does."""

    def _fit_lbfgs(self, X, y, sample_weight, *rest):
        asked = {"dropout": any(self._dropout()), "validation_loss": self.validation_loss}
        for name, given in asked.items():
            if given:
                raise ValueError(f"{name} needs solver='sgd' or 'adam', got solver='lbfgs'")
        training = self._training_lbfgs(X, y, self._all_weights(sample_weight))
        # The latest iterate: weights, loss and number.  In between, the weights are those that
        # SciPy tries, with which an interrupt must not leave the estimator.
        accepted = [(training.packed(training.engine.params.block), None, 0)]
        try:
            found = self._minimize(training, accepted)
        except BaseException:
            weights, loss, self.n_iter_ = accepted[0]
            training.engine.assign(*training.unpacked(weights))
            if loss is not None:
                self.loss_ = loss
            raise
        self.n_iter_, self.loss_ = min(found.nit, self.max_iter), found.fun
        if found.status != STOPPED_BY_CALLBACK:  # then it is said, or was asked for
            _check_optimize_result("lbfgs", found, self.max_iter)
        # In double precision as in scikit-learn, even if X is not.
        self._view(self._new_engine(*training.unpacked(found.x)))

    def _minimize(self, training: Training, accepted: list[tuple]) -> Any:
        """SciPy's result; each iterate takes the place of the one in `accepted`."""
        began, self.n_iter_ = time.monotonic(), 0
        # SciPy's products on threads of their own would fight with the kernels' for the cores, and
        # take eight times as long on two.  scikit-learn's KMeans does the same.
        blas = _get_threadpool_controller().limit(limits=1, user_api="blas")
        with blas, progress_bar(self.progress, self.max_iter, "iteration") as bar:

            def look(intermediate_result: Any) -> None:
                x, loss = intermediate_result.x.copy(), intermediate_result.fun
                accepted[0] = x, loss, self.n_iter_ + 1
                training.engine.assign(*training.unpacked(x))
                self.loss_, self.n_iter_ = loss, self.n_iter_ + 1
                bar.update(1)
                if self._is_asked_to_stop(training, began):
                    raise StopIteration

            return scipy.optimize.minimize(
                training.loss_and_gradient,
                accepted[0][0],
                method="L-BFGS-B",
                jac=True,
                callback=look,
                options={
                    "maxfun": self.max_fun,
                    "maxiter": self.max_iter,
                    "gtol": self.tol,
                    # What an older SciPy prints.
                    **_get_additional_lbfgs_options_dict("iprint", 1 if self.verbose else -1),
                },
            )

    def _training_lbfgs(self, X, y, sample_weight) -> Training:
        """All rows in a batch, of which the gradient is taken and nothing is updated."""
        engine = self._engine_at_hand()
        examples = engine.examples(self._samples_of(X), y)
        return Training(
            engine, examples, sample_weight, self.alpha, X.shape[0], RULES["store"], numbers={}
        )

    def _loss_grad_lbfgs(self, packed_coef_inter, X, y, sample_weight, *rest):
        """As in scikit-learn, for who calls it there; `_fit_lbfgs` does not."""
        return self._training_lbfgs(X, y, sample_weight).loss_and_gradient(packed_coef_inter)
