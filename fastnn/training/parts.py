"""Which parts of the kernels a call needs; they are compiled, or loaded, before it."""

from __future__ import annotations

from typing import NamedTuple

from fastnn.compiler.parts import Choice, Table
from fastnn.kernels import (
    dropout,
    given,
    image_rows,
    last_layer,
    layers,
    products,
    row_groups,
    rows,
    rules,
    train,
    weights,
)
from fastnn.kernels.activations import BACKWARD as ACTIVATION_BACKWARD
from fastnn.kernels.activations import FORWARD as ACTIVATION_FORWARD
from fastnn.kernels.activations import IDENTITY
from fastnn.kernels.convolution import CONVOLVE, FILTER_GRADIENT
from fastnn.kernels.groups import Layer
from fastnn.kernels.images import Image
from fastnn.kernels.layers.sparse_affine import FORWARD_BLOCK, GRADIENT_BLOCK

# All there are.
EVERY_CHOICE = (
    *(layers.FORWARD, layers.BACKWARD, layers.BACKWARD_FEW, layers.UPDATE, layers.UPDATE_FEW),
    *(ACTIVATION_FORWARD, ACTIVATION_BACKWARD, dropout.FORWARD, dropout.BACKWARD),
    *(last_layer.OUTPUTS_OF_ROWS, last_layer.LOSSES_OF_ROWS),
    *(rules.UPDATE_BLOCK, products.MULTIPLY, FORWARD_BLOCK, GRADIENT_BLOCK),
    *(train.STEPS, rules.UPDATE_BY_SUMS),
    *(CONVOLVE, FILTER_GRADIENT, image_rows.FORWARD_IMAGES, image_rows.BACKWARD_IMAGES),
    *(rows.COLUMN_SWEEP, rows.IMAGE_SWEEP, weights.SQUARES_OF_WEIGHTS, given.TAKE_ROWS),
)


class Answers(NamedTuple):
    """A pass through a network: what it is asked for."""

    loss: int
    with_loss: bool = True  # or only the outputs
    given: bool = False  # rows come with the call, and are looked at in it


class Training(NamedTuple):
    """Steps."""

    loss: int
    rule: int
    given: bool = False
    few: bool = False  # batches may have so few rows that weights are all that counts,
    by_columns: bool = False  # or be shared out by columns
    penalty: bool = False


class Parts:
    """The parts of a plan's layers that are at hand.

    `table` is that of their types; its address stands in the plan.
    """

    def __init__(self, table: Table, network: list[Layer], images: list[Image]):
        self._table, self._layers = table, network
        self._of_images = {image.activation for image in images} - {IDENTITY}
        weights = sum(layer.inputs * layer.outputs for layer in network)
        self._in_groups = not images and row_groups.has_few.py_func(weights, network[0].inputs)
        self._at_hand: set[Answers | Training] = set()

    def have(self, asked: Answers | Training) -> None:
        """Have all that a call of this kind needs."""
        if asked in self._at_hand:
            return
        self._have_forward(isinstance(asked, Training) and asked.by_columns)
        if asked.given:
            self._table.have(given.TAKE_ROWS)
        if isinstance(asked, Training):
            self._have_losses(asked.loss)
            self._have_steps(asked)
        elif asked.with_loss:
            self._have_losses(asked.loss)
        else:
            self._table.have(last_layer.OUTPUTS_OF_ROWS, asked.loss)
        self._at_hand.add(asked)

    def _have_losses(self, loss: int) -> None:
        self._table.have(last_layer.LOSSES_OF_ROWS, loss)

    def _have_forward(self, by_columns: bool) -> None:
        for layer in self._layers:
            self._table.have(layers.FORWARD, layer.kind)
            for choice, number in _kind(layer).forward_parts(layer, by_columns):
                self._table.have(choice, number)
            self._have_activation(ACTIVATION_FORWARD, layer)
            if layer.dropped:
                self._table.have(dropout.FORWARD)
        if self._layers[0].kind >= layers.IMAGES:
            self._table.have(image_rows.FORWARD_IMAGES)
        for code in self._of_images:
            self._table.have(ACTIVATION_FORWARD, code)

    def _have_activation(self, choice: Choice, layer: Layer) -> None:
        if layer.activation != IDENTITY:
            self._table.have(choice, layer.activation)

    def _have_steps(self, asked: Training) -> None:
        table = self._table
        table.have(train.STEPS, train.IN_GROUPS if self._in_groups else train.BY_SWEEPS)
        updated, rule = [layer for layer in self._layers if layer.inputs], asked.rule
        if self._layers[0].kind >= layers.IMAGES:
            table.have(rules.UPDATE_BY_SUMS, asked.rule)
            table.have(rows.IMAGE_SWEEP)
            table.have(image_rows.BACKWARD_IMAGES)
        for code in self._of_images:
            table.have(ACTIVATION_BACKWARD, code)
        if self._in_groups:
            table.have(rules.UPDATE_BY_SUMS, asked.rule)
            # Gradients of affine layers go straight to their place, those of others are stored.
            updated = [layer for layer in self._layers if layer.kind != layers.AFFINE]
            rule = rules.STORE
        if updated:
            table.have(rules.UPDATE_BLOCK, rule)
        for layer in self._layers[1:]:
            table.have(layers.BACKWARD, layer.kind)
            if asked.few:
                table.have(layers.BACKWARD_FEW, layer.kind)
        for layer in updated:
            table.have(layers.UPDATE, layer.kind)
            for choice, number in _kind(layer).update_parts(layer):
                table.have(choice, number)
            if asked.few:
                table.have(layers.UPDATE_FEW, layer.kind)
        for layer in self._layers[:-1]:
            if layer.dropped:
                table.have(dropout.BACKWARD)
            else:
                self._have_activation(ACTIVATION_BACKWARD, layer)
        if asked.by_columns:
            table.have(rows.COLUMN_SWEEP)
        if asked.penalty:
            table.have(weights.SQUARES_OF_WEIGHTS)


def _kind(layer: Layer) -> layers.Kind:
    return list(layers.KINDS.values())[layer.kind]
