"""The training of seed 003 as its text has it, but for its pictures.

Added are only the source of its random numbers, and a record of the order of the samples, of the
weights at the start and of the errors.
"""

import numpy as np

random = np.random.RandomState()

wb_width = 0.01
eta = 0.1

input_data = np.arange(0, np.pi * 2, 0.1)
correct_data = np.sin(input_data)
input_data = (input_data - np.pi) / np.pi
n_data = len(correct_data)

n_in = 1
n_mid = 3
n_out = 1


class Neuron:
    def __init__(self, n_upper, n, activation_function, differential_function):
        self.w = wb_width * random.randn(n_upper, n)
        self.b = wb_width * random.randn(n)
        self.grad_w = np.zeros((n_upper, n))
        self.grad_b = np.zeros(n)
        self.activation_function = activation_function
        self.differential_function = differential_function

    def update(self, eta):
        self.w -= eta * self.grad_w
        self.b -= eta * self.grad_b

    def forward(self, x):
        self.x = x
        u = x.dot(self.w) + self.b
        self.y = self.activation_function(u)
        return self.y

    def backword(self, t):
        delta = self.differential_function(self.y, t)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = np.sum(delta, axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x


def identity_func(u):
    return u


def differential_output(y, t):
    return y - t


class Output(Neuron):
    pass


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def differential_sigmod(grad_y, y):
    return grad_y * (1 - y) * y


class Middle(Neuron):
    def backword(self, grad_y):
        delta = self.differential_function(grad_y, self.y)
        self.grad_w = self.x.T.dot(delta)
        self.grad_b = delta.sum(axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x


def train(epoch, interval, seed):
    """Initial weights, the order of the samples in each epoch, and the error of some epochs."""
    random.seed(seed)
    middle_layer = Middle(n_in, n_mid, sigmoid, differential_sigmod)
    output_layer = Output(n_mid, n_out, identity_func, differential_output)
    layers = {"1": middle_layer, "2": output_layer}
    start = {f"W{n}": layer.w.copy() for n, layer in layers.items()}
    start |= {f"b{n}": layer.b.copy() for n, layer in layers.items()}
    orders, errors = [], {}

    for i in range(epoch):
        index_random = np.arange(n_data)
        random.shuffle(index_random)
        orders.append(index_random)

        total_err = 0

        for idx in index_random:
            x = input_data[idx : idx + 1]
            t = correct_data[idx : idx + 1]

            y = output_layer.forward(middle_layer.forward(x.reshape(1, 1)))

            middle_layer.backword(output_layer.backword(t.reshape(1, 1)))

            middle_layer.update(eta)
            output_layer.update(eta)

            if i % interval == 0:
                total_err += 1.0 / 2.0 * np.sum(np.square(y - t))

        if i % interval == 0:
            errors[i] = total_err / n_data

    return start, orders, errors
