"""The model of the demo: a small neural network that estimates the flow from the five sensors.

It is trained here and now, by gradient descent with Adam (Kingma and Ba, 2015), on what the simulated pump
shows in a laboratory that has a flow meter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HIDDEN = 12
STEPS = 400
BATCH = 256
RATE = 0.02


class FlowModel:
    """One hidden layer of `HIDDEN` tanh units between standardised inputs and output.

    >>> x = np.random.default_rng(0).normal(size=(500, 5))
    >>> y = x[:, 0] - 0.5 * x[:, 1]
    >>> FlowModel(x, y, seed=1).explained(x, y) > 0.95
    True
    """

    def __init__(self, inputs: Floats, target: Floats, seed: int) -> None:
        self.centre, self.scale = inputs.mean(axis=0), inputs.std(axis=0)
        self.target_centre, self.target_scale = float(target.mean()), float(target.std())
        rng = np.random.default_rng(seed)
        self.weights = [
            rng.normal(size=(inputs.shape[1], HIDDEN)) / np.sqrt(inputs.shape[1]),
            np.zeros(HIDDEN),
            rng.normal(size=(HIDDEN, 1)) / np.sqrt(HIDDEN),
            np.zeros(1),
        ]
        self._train(
            (inputs - self.centre) / self.scale, (target - self.target_centre) / self.target_scale, rng
        )

    def predict(self, inputs: Floats) -> Floats:
        """The estimated flow of rows (rows, sensors), or of one row."""
        first, bias, second, offset = self.weights
        hidden = np.tanh((inputs - self.centre) / self.scale @ first + bias)
        answer: Floats = (hidden @ second + offset)[..., 0]
        return answer * self.target_scale + self.target_centre

    def explained(self, inputs: Floats, target: Floats) -> float:
        """The share of the target's variance that is explained (R squared)."""
        return float(1 - np.mean((self.predict(inputs) - target) ** 2) / target.var())

    def _train(self, inputs: Floats, target: Floats, rng: np.random.Generator) -> None:
        moments = [np.zeros_like(weight) for weight in self.weights]
        squares = [np.zeros_like(weight) for weight in self.weights]
        for step in range(1, STEPS + 1):
            rows = rng.integers(len(target), size=BATCH)
            rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for index, slope in enumerate(self._gradient(inputs[rows], target[rows])):
                moments[index] = 0.9 * moments[index] + 0.1 * slope
                squares[index] = 0.999 * squares[index] + 0.001 * slope**2
                self.weights[index] -= rate * moments[index] / (np.sqrt(squares[index]) + 1e-8)

    def _gradient(self, inputs: Floats, target: Floats) -> list[Floats]:
        """Slopes of the mean squared error, by back-propagation."""
        first, bias, second, offset = self.weights
        hidden = np.tanh(inputs @ first + bias)
        error = ((hidden @ second + offset)[:, 0] - target)[:, None] * (2 / len(target))
        inner = (error @ second.T) * (1 - hidden**2)
        return [inputs.T @ inner, inner.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
