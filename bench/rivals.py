"""The contestants: fastnn and its rivals, each trained as leanly as its library allows.

Every contestant trains the same network (hidden layers of ReLU or sigmoid, softmax cross entropy
averaged over the batch, plain SGD, float32) on the same mini-batches from the same weights. It is
made by `Contestant(layer_sizes, activation, params)`; `run(x, t, batches, lr)` makes one step for
each row of `batches` and returns each step's loss before its update; `params` is a dictionary
W1, b1, W2, ... of arrays that can be read, and assigned to start again.

Libraries are imported where they are used, so a process pays only for the one it runs.
"""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np


class Contestant:
    """What all contestants share."""

    name = ""
    library = ""
    # Whether the contestant can be told which rows make a batch, and so be checked step by step.
    same_batches = True

    def __init__(self, layer_sizes, activation, params):
        self.layer_sizes = tuple(layer_sizes)
        self.activation = activation
        self.params = params

    @classmethod
    def is_installed(cls):
        """Say whether the library can be imported, without importing it."""
        return find_spec(cls.library) is not None

    @staticmethod
    def set_num_threads(threads):
        """Set what can only be set from inside; environments are the caller's business."""

    def run(self, x, t, batches, lr):
        """Make a step for each row of `batches`; return each step's loss before its update."""
        return self._train(x, t, batches, lr)

    @property
    def params(self):
        """Copies of the weights by name; assigning them starts the training again from there."""
        return by_name([np.array(array) for array in self._arrays()])

    @params.setter
    def params(self, params):
        self._start(in_order(params))

    def _train(self, x, t, batches, lr):
        raise NotImplementedError

    def _arrays(self):
        """Return the weights now, in order."""
        raise NotImplementedError

    def _start(self, arrays):
        """Take over these weights and forget all else."""
        raise NotImplementedError


def in_order(params):
    """Return the arrays W1, b1, W2, b2, ... as a list."""
    return [params[f"{kind}{layer + 1}"] for layer in range(len(params) // 2) for kind in "Wb"]


def alternating(weights, biases):
    """Return [W1, b1, W2, b2, ...] from [W1, W2, ...] and [b1, b2, ...]."""
    return [array for pair in zip(weights, biases, strict=True) for array in pair]


def by_name(arrays):
    """Return W1, b1, W2, b2, ... as a dictionary: the inverse of `in_order`."""
    return {f"{'Wb'[i % 2]}{i // 2 + 1}": array for i, array in enumerate(arrays)}


class FastnnContestant(Contestant):
    """The library itself, through the public `fit`."""

    name = "fastnn"
    library = "fastnn"

    @staticmethod
    def set_num_threads(threads):
        """Let fastnn use up to so many threads; it still takes one where that is enough."""
        import fastnn

        fastnn.set_num_threads(threads)

    def _start(self, arrays):
        import fastnn

        self.network = fastnn.MLP(
            list(self.layer_sizes), activation=self.activation, dtype="float32", seed=0
        )
        for name, array in by_name(arrays).items():
            self.network.params[name] = array

    def _arrays(self):
        return in_order(self.network.params)

    def _train(self, x, t, batches, lr):
        import fastnn

        history = self.network.fit(x, t, batches=batches, optimizer=fastnn.SGD(lr))
        return np.asarray(history.loss)


class NumPyContestant(Contestant):
    """NumPy without waste: every array is made once and every operation writes in place.

    Small tricks were each timed against the plain form: rows are gathered with `mode="clip"`
    (no buffering), rows and columns are summed by BLAS, the ReLU's mask is made as float32, and
    the learning rate is multiplied into the output's delta, the smallest array on its way.
    """

    name = "numpy"
    library = "numpy"

    def _start(self, arrays):
        arrays = [np.array(array, dtype=np.float32) for array in arrays]
        self.weights, self.biases = arrays[0::2], arrays[1::2]
        self.batch = None

    def _arrays(self):
        return alternating(self.weights, self.biases)

    def _train(self, x, t, batches, lr):
        self._allocate(batches.shape[1])
        losses = np.empty(len(batches), dtype=np.float32)
        with np.errstate(over="ignore"):  # exp(-z) may overflow in a sigmoid; 1/(1+inf) is right
            for step, rows in enumerate(batches):
                losses[step] = self._step(x, t, rows, lr / len(rows))
        return losses

    def _allocate(self, batch):
        if batch == self.batch:
            return
        self.batch = batch
        self.outputs = [np.empty((batch, n), dtype=np.float32) for n in self.layer_sizes]
        self.deltas = [np.empty_like(array) for array in self.outputs[:-1]]
        self.slopes = [np.empty_like(array) for array in self.outputs[:-1]]
        self.weight_steps = [np.empty_like(array) for array in self.weights]
        self.bias_steps = [np.empty_like(array) for array in self.biases]
        self.row_values = np.empty((batch, 1), dtype=np.float32)
        self.ones_per_row = np.ones(batch, dtype=np.float32)
        self.ones_per_class = np.ones((self.layer_sizes[-1], 1), dtype=np.float32)
        self.first_of_row = np.arange(batch) * self.layer_sizes[-1]

    def _step(self, x, t, rows, rate_per_row):
        np.take(x, rows, axis=0, out=self.outputs[0], mode="clip")
        self._forward()
        loss = self._turn_logits_into_delta(self.first_of_row + t[rows], rate_per_row)
        self._backward_and_update()
        return loss

    def _forward(self):
        last = len(self.weights) - 1
        for k, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = np.matmul(self.outputs[k], weights, out=self.outputs[k + 1])
            z += biases
            if k < last:
                self._activate(z)

    def _activate(self, z):
        if self.activation == "relu":
            np.maximum(z, 0, out=z)
        else:
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)

    def _turn_logits_into_delta(self, right, rate_per_row):
        """Overwrite the logits with rate·(softmax − one-hot)/batch; return the mean loss."""
        z, column = self.outputs[-1], self.row_values
        flat = z.reshape(-1)
        z -= np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        right_logits = flat[right]
        np.exp(z, out=z)
        np.matmul(z, self.ones_per_class, out=column)
        loss = np.add.reduce(np.log(column[:, 0])) - np.add.reduce(right_logits)
        z *= np.divide(rate_per_row, column, out=column)
        flat[right] -= rate_per_row
        return loss / self.batch

    def _backward_and_update(self):
        delta = self.outputs[-1]
        for k in reversed(range(len(self.weights))):
            weight_step = np.matmul(self.outputs[k].T, delta, out=self.weight_steps[k])
            bias_step = np.matmul(self.ones_per_row, delta, out=self.bias_steps[k])
            if k > 0:
                below = np.matmul(delta, self.weights[k].T, out=self.deltas[k])
                delta_below = self._times_slope(below, self.outputs[k], self.slopes[k])
            self.weights[k] -= weight_step
            self.biases[k] -= bias_step
            if k > 0:
                delta = delta_below

    def _times_slope(self, delta, output, slope):
        if self.activation == "relu":
            np.greater(output, 0, out=slope, casting="unsafe")
        else:
            np.subtract(1, output, out=slope)
            slope *= output
        delta *= slope
        return delta


class PyTorchContestant(Contestant):
    """PyTorch eager, without modules and optimiser objects, which cost some 20 % on small nets."""

    name = "pytorch"
    library = "torch"

    @staticmethod
    def set_num_threads(threads):
        """Set the threads that one operation is split over."""
        import torch

        torch.set_num_threads(threads)

    def _start(self, arrays):
        import torch

        self.tensors = [torch.tensor(array, requires_grad=True) for array in arrays]

    def _arrays(self):
        return [tensor.detach().numpy() for tensor in self.tensors]

    def _train(self, x, t, batches, lr):
        import torch

        x, t, batches = map(torch.from_numpy, (x, t, batches))
        cross_entropy = torch.nn.functional.cross_entropy
        losses = []
        for rows in batches:
            logits = self._logits(torch, x.index_select(0, rows))
            loss = cross_entropy(logits, t.index_select(0, rows))
            gradients = torch.autograd.grad(loss, self.tensors)
            with torch.no_grad():
                for tensor, gradient in zip(self.tensors, gradients, strict=True):
                    tensor.add_(gradient, alpha=-lr)
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    def _logits(self, torch, values):
        activate = torch.relu_ if self.activation == "relu" else torch.sigmoid_
        *hidden, weights, biases = self.tensors
        for k in range(0, len(hidden), 2):
            values = activate(torch.addmm(hidden[k + 1], values, hidden[k]))
        return torch.addmm(biases, values, weights)


class JAXContestant(Contestant):
    """JAX: all steps of a run are one compiled `lax.scan`, which gathers its own batches."""

    name = "jax"
    library = "jax"

    def __init__(self, layer_sizes, activation, params):
        super().__init__(layer_sizes, activation, params)
        self.host_data = (None, None)
        self.device_data = (None, None)

    def _start(self, arrays):
        import jax.numpy as jnp

        self.arrays = [jnp.array(array) for array in arrays]

    def _arrays(self):
        return self.arrays

    def _train(self, x, t, batches, lr):
        import jax

        train = _jax_training(self.activation)
        device_x, device_t = self._on_device(x, t)
        self.arrays, losses = train(
            self.arrays, device_x, device_t, batches.astype(np.int32), np.float32(lr)
        )
        jax.block_until_ready(self.arrays)
        return np.asarray(losses)

    def _on_device(self, x, t):
        """Copy the data set once, not at each run: a JAX user keeps it on the device."""
        import jax

        if self.host_data[0] is not x or self.host_data[1] is not t:
            self.host_data = (x, t)
            self.device_data = (jax.device_put(x), jax.device_put(t.astype(np.int32)))
        return self.device_data


@lru_cache
def _jax_training(activation):
    """Return the jitted function (arrays, x, t, batches, lr) -> (arrays, losses)."""
    import jax
    import jax.numpy as jnp

    activate = jax.nn.relu if activation == "relu" else jax.nn.sigmoid

    def loss_of(arrays, x, t):
        *hidden, weights, biases = arrays
        for k in range(0, len(hidden), 2):
            x = activate(x @ hidden[k] + hidden[k + 1])
        log_probabilities = jax.nn.log_softmax(x @ weights + biases)
        return -jnp.mean(jnp.take_along_axis(log_probabilities, t[:, None], axis=1))

    def train(arrays, x, t, batches, lr):
        def step(arrays, rows):
            # The promise spares the test of each index that JAX's plain x[rows] makes.
            x_batch = x.at[rows].get(mode="promise_in_bounds")
            t_batch = t.at[rows].get(mode="promise_in_bounds")
            loss, gradients = jax.value_and_grad(loss_of)(arrays, x_batch, t_batch)
            return [a - lr * g for a, g in zip(arrays, gradients, strict=True)], loss

        return jax.lax.scan(step, arrays, batches)

    return jax.jit(train, donate_argnums=0)


class ScikitLearnContestant(Contestant):
    """scikit-learn's MLPClassifier with plain SGD: as many steps of the same batch size.

    It draws its own weights and batches, so it is timed but its answers cannot be compared.
    """

    name = "scikit-learn"
    library = "sklearn"
    same_batches = False

    def _start(self, arrays):
        self.model = None  # its weights are its own; the next run draws new ones

    def _arrays(self):
        return alternating(self.model.coefs_, self.model.intercepts_)

    def _train(self, x, t, batches, lr):
        if self.model is None:
            self.model = self._new_model(batches.shape[1], lr)
        # partial_fit makes one shuffled pass over the rows it is given.
        steps_left = len(batches)
        while steps_left:
            steps = min(steps_left, len(x) // batches.shape[1])
            rows = steps * batches.shape[1]
            self.model.partial_fit(x[:rows], t[:rows], classes=np.arange(self.layer_sizes[-1]))
            steps_left -= steps
        return np.empty(0, dtype=np.float32)

    def _new_model(self, batch, lr):
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            hidden_layer_sizes=self.layer_sizes[1:-1],
            activation="relu" if self.activation == "relu" else "logistic",
            solver="sgd",
            alpha=0.0,
            batch_size=batch,
            learning_rate="constant",
            learning_rate_init=lr,
            momentum=0.0,
            nesterovs_momentum=False,
            random_state=0,
        )


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        FastnnContestant,
        NumPyContestant,
        JAXContestant,
        PyTorchContestant,
        ScikitLearnContestant,
    )
}
