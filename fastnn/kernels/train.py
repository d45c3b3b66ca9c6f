"""Training steps: a step is two sweeps, over rows and over weights, with a wait behind each.

Or, of a network of few weights, what `row_groups` says.
"""

from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.parts import Choice
from fastnn.compiler.team import assemble, barrier
from fastnn.kernels.given import TAKE_ROWS, any_strange
from fastnn.kernels.groups import (
    AllScratch,
    Batches,
    Call,
    Examples,
    Network,
    Record,
    Rule,
    data_of,
    layer_of,
    parts_of,
    share_of,
    targets_of,
)
from fastnn.kernels.layers import SPARSE_AFFINE, image_layers
from fastnn.kernels.places import Places
from fastnn.kernels.row_groups import has_few, in_groups
from fastnn.kernels.rows import COLUMN_SWEEP, IMAGE_SWEEP, row_sweep, work_of
from fastnn.kernels.rules import STORE
from fastnn.kernels.steps import (
    COLUMN_ROWS,
    GO_ON,
    ON_GIVEN,
    SOME_GRADIENTS,
    SOME_ROWS,
    SQUARES,
    STOP_AFTER_UPDATE,
    STOP_BEFORE_UPDATE,
    UPDATE,
    WHOLE_STEPS,
    WIDE_WEIGHTS,
    batch_of,
    losses_of,
    note_loss,
    rule_of,
)
from fastnn.kernels.weights import (
    SQUARES_OF_WEIGHTS,
    number_of_weights,
    update_from,
    weight_sweep,
)


@inner
def by_sweeps(
    chunk: int,
    chunks: int,
    call: Call,
    network: Network,
    rule: Rule,
    examples: Examples,
    batches: Batches,
    scratch: AllScratch,
    record: Record,
):
    """`train` for a network of more than few weights."""
    mine, of_images = work_of(scratch, chunk), image_layers(network) > 0
    wide = number_of_weights(network) >= WIDE_WEIGHTS and not of_images
    data, targets, squares = data_of(examples), targets_of(examples), scratch.squares[:SQUARES]
    part, parts = call.piece * chunks + chunk, call.pieces * chunks
    for s in range(call.first, call.end):
        batch = batch_of(chunk, chunks, wide, call, batches, s)
        by_columns = wide and chunks > 1 and batch.count <= COLUMN_ROWS
        if call.stage == ON_GIVEN:
            lists = layer_of(network, 0).kind == SPARSE_AFFINE
            begin, end = share_of(batch.count, chunk, chunks)
            TAKE_ROWS(parts_of(network), 0, (chunk, chunks, lists, examples, begin, end))
            if by_columns or of_images:  # rows are shared out in another way
                barrier(call.team, chunks)
        if call.stage <= WHOLE_STEPS and by_columns:
            arguments = (chunk, chunks, network, data, targets, batch, mine, call.team)
            COLUMN_SWEEP(parts_of(network), 0, arguments)
        elif call.stage <= SOME_ROWS and of_images:
            IMAGE_SWEEP(parts_of(network), 0, (part, parts, network, data, targets, batch, mine))
        elif call.stage <= SOME_ROWS:
            row_sweep(part, parts, network, data, targets, batch, mine)
        if call.stage == SOME_ROWS:
            return
        then = GO_ON
        if call.stage != SOME_GRADIENTS:
            if batches.penalty.size:
                whose = (chunk, chunks, network, squares)
                SQUARES_OF_WEIGHTS(parts_of(network), 0, whose)
            barrier(call.team, chunks)
            if call.stage == ON_GIVEN and any_strange(examples.found):
                return
            total = losses_of(batch, scratch)
            then = note_loss(chunk, s, total, batch, batches, squares, record)
        if then == STOP_BEFORE_UPDATE and rule.code != STORE:  # a gradient is what it is
            return
        rule_of_step = rule_of(call, rule, batches, scratch, s)
        if call.stage == UPDATE:
            update_from(scratch.gradient, chunk, chunks, network, rule_of_step)
        else:
            weight_sweep(part, parts, network, rule_of_step, data, batch, mine)
        if call.stage == SOME_GRADIENTS:
            return
        barrier(call.team, chunks)
        if then == STOP_AFTER_UPDATE:
            return


BY_SWEEPS, IN_GROUPS = range(2)
STEPS = Choice(Places.STEPS, {BY_SWEEPS: by_sweeps, IN_GROUPS: in_groups})


@chunked
def train(
    chunk,
    chunks,
    call: Call,
    network: Network,
    rule: Rule,
    examples: Examples,
    batches: Batches,
    scratch: AllScratch,
    record: Record,
):
    """A chunk's share of some of the steps of `batches`.

    Records the mean loss of each batch before its update, the means of epochs as ``record.watch``
    says (see `note_step`), and the numbers of updates and of losses.  Stops before the update of a
    step whose loss is not finite, unless the rule is STORE, or after the one that ends training.

    The steps of the `call` are whole; or there are many calls for one: of all
    pieces of SOME_ROWS, then of all of SOME_GRADIENTS, which go to ``scratch.gradient``, and last
    UPDATE.  Or it is one step, ON_GIVEN, on rows that come with the call and are looked at first:
    if one is not as it should be, nothing is changed or recorded.
    """
    chunks = assemble(call.team, chunk, chunks)
    if chunks > 0:
        few = has_few(number_of_weights(network), layer_of(network, 0).inputs)
        few = few and image_layers(network) == 0
        arguments = (chunk, chunks, call, network, rule, examples, batches, scratch, record)
        STEPS(parts_of(network), IN_GROUPS if few else BY_SWEEPS, arguments)
