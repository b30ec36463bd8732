"""Drift: two-sample comparisons, streaming detectors, references, and the watcher that decides.

>>> from edge_mlops_monitor import drift
>>> "psi" in drift.METHODS, "adwin" in drift.METHODS
(True, True)
>>> drift.compare("ks_test", [1, 2, 3, 4], [5, 6, 7, 8], threshold=0.05).is_drift
True
>>> drift.parameters("ks_test")
{'alternative': 'two-sided', 'mode': 'auto', 'bins': None}
"""

from __future__ import annotations

import inspect
from typing import Any

from edge_mlops_monitor.errors import DataError, UnknownNameError
from edge_mlops_monitor.records import DriftResult, Profile
from edge_mlops_monitor.registry import Registry

__all__ = ["METHODS", "compare", "detector", "parameters"]

_HERE = "edge_mlops_monitor.drift"

# A comparison has `compare(reference, current, threshold) -> DriftResult`, a detector `update(x)`.
METHODS = Registry(
    "drift method",
    {
        "ks_test": f"{_HERE}.comparisons.ks_test:KSTest",
        "psi": f"{_HERE}.comparisons.psi:PSI",
        "jensen_shannon": f"{_HERE}.comparisons.jensen_shannon:JensenShannon",
        "wasserstein": f"{_HERE}.comparisons.wasserstein:Wasserstein",
        "hellinger": f"{_HERE}.comparisons.hellinger:Hellinger",
        "total_variation": f"{_HERE}.comparisons.total_variation:TotalVariation",
        "l_infinity": f"{_HERE}.comparisons.l_infinity:LInfinity",
        "chi_square": f"{_HERE}.comparisons.chi_square:ChiSquare",
        "cramer_von_mises": f"{_HERE}.comparisons.cramer_von_mises:CramerVonMises",
        "anderson_darling": f"{_HERE}.comparisons.anderson_darling:AndersonDarling",
        "kuiper": f"{_HERE}.comparisons.kuiper:Kuiper",
        "energy": f"{_HERE}.comparisons.energy:Energy",
        "reconstruction": f"{_HERE}.multivariate.reconstruction:Reconstruction",
        "mahalanobis": f"{_HERE}.multivariate.mahalanobis:Mahalanobis",
        "mmd": f"{_HERE}.multivariate.mmd:MMD",
        "domain_classifier": f"{_HERE}.multivariate.domain_classifier:DomainClassifier",
        "e_detector": f"{_HERE}.detectors.e_detector:EDetector",
        "adwin": f"{_HERE}.detectors.adwin:ADWIN",
        "page_hinkley": f"{_HERE}.detectors.page_hinkley:PageHinkley",
        "cusum": f"{_HERE}.detectors.cusum:CUSUM",
        "ewma": f"{_HERE}.detectors.ewma:EWMA",
        "kswin": f"{_HERE}.detectors.kswin:KSWIN",
        "ddm": f"{_HERE}.detectors.ddm:DDM",
        "eddm": f"{_HERE}.detectors.eddm:EDDM",
        "hddm_a": f"{_HERE}.detectors.hddm_a:HDDMA",
        "hddm_w": f"{_HERE}.detectors.hddm_w:HDDMW",
    },
    group="edge_mlops_monitor.drift",
)


def compare(
    method: str, reference: Any, current: Any, *, threshold: float | None = None, **parameters: Any
) -> DriftResult:
    """Compare two samples: 1-D arrays of numbers or sequences of strings, 2-D for multivariate methods.

    None and NaN are left out. `current` may also be a `Profile`, and `reference` one or a
    `FeatureReference`: methods of counts use the bins of the reference, `ks_test` and `wasserstein` the
    quantile sketch, with the error in `data["error"]`.

    `threshold` is the level of a p-value, below which `is_drift` is True, or for a plain distance the
    value from which on it is; without it `is_drift` is None, and so it is where there is no answer
    (`data["lacks"]` says why). Raises `UnknownNameError` for an unknown method or parameter.

    >>> compare("ks_test", range(100), range(50, 150)).statistic
    0.5
    """
    cls = METHODS[method]
    if not hasattr(cls, "compare"):
        raise UnknownNameError(f"'{method}' watches a stream; use drift.detector('{method}', ...)")
    comparison = _made(method, cls, parameters)
    if isinstance(current, Profile) or isinstance(reference, Profile):
        from edge_mlops_monitor.drift.profile_comparison import compare_profiles

        return compare_profiles(comparison, reference, current, threshold)
    result: DriftResult = comparison.compare(reference, current, threshold)
    return result


def detector(name: str, **parameters: Any) -> Any:
    """A streaming detector: `update(x)`, then `drift_detected` and `warning_detected`.

    `update_many(xs)` takes many values and returns the indices at which it fired.

    >>> healthy, shifted = [i * 7 % 101 for i in range(1000)], [i * 7 % 101 + 40 for i in range(200)]
    >>> found = detector("e_detector", reference=healthy).update_many(healthy + shifted)
    >>> [1000 <= index < 1100 for index in found]
    [True]
    """
    cls = METHODS[name]
    if not hasattr(cls, "update"):
        raise UnknownNameError(
            f"'{name}' compares two samples; use drift.compare('{name}', reference, current)"
        )
    return _made(name, cls, parameters)


def parameters(method: str) -> dict[str, Any]:
    """What a method takes, with the defaults; `...` where there is none."""
    found = inspect.signature(METHODS[method]).parameters.values()
    return {one.name: ... if one.default is inspect.Parameter.empty else one.default for one in found}


def _made(name: str, cls: Any, given: dict[str, Any]) -> Any:
    taken = parameters(name)
    unknown = [key for key in given if key not in taken]
    if unknown:
        raise UnknownNameError(f"{name} has no parameter '{unknown[0]}'; it takes {', '.join(taken)}")
    lacking = [key for key, default in taken.items() if default is ... and key not in given]
    if lacking:
        raise DataError(f"{name} needs {' and '.join(lacking)}; give {lacking[0]}=...")
    return cls(**given)
