"""Keras 3.15.1 on torch: bidirectional LSTM, LSTM decoder, `AdditiveAttention` once over the decoder's outputs.

What its guides show, with attention: no input feeding, so that the decoder is one layer call. Its attention has no
matrices, wherefore the encoder's two directions together are as wide as the decoder. The step is `train_on_batch`, and
padding is masked by its own masks. Keras does not batch by length, so that it gets random batches, and has no search.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, Size, Task, serve

os.environ["KERAS_BACKEND"] = "torch"

import keras
from keras import layers

PAD, START, END = 0, 1, 2
MARKS = 3


def build(source_vocab: int, target_vocab: int, size: Size) -> keras.Model:
    """Two inputs, (batch, src_len) and (batch, tgt_len); logits (batch, tgt_len, vocab)."""
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    memory = layers.Embedding(source_vocab, size.embed, mask_zero=True, name="source_table")(source)
    output = layers.Embedding(target_vocab, size.embed, mask_zero=True, name="target_table")(target)
    for _ in range(size.layers):
        encoder = layers.Bidirectional(layers.LSTM(size.decoder // 2, return_sequences=True, return_state=True))
        memory, forward_h, forward_c, backward_h, backward_c = encoder(layers.Dropout(DROPOUT)(memory))
        state = [layers.Concatenate()([forward_h, backward_h]), layers.Concatenate()([forward_c, backward_c])]
        output = layers.LSTM(size.decoder, return_sequences=True)(layers.Dropout(DROPOUT)(output), initial_state=state)
    context = layers.AdditiveAttention()([output, memory])
    features = layers.Dense(size.decoder, activation="tanh")(layers.Concatenate()([output, context]))
    return keras.Model([source, target], layers.Dense(target_vocab)(layers.Dropout(DROPOUT)(features)))


class Keras:
    def __init__(self, task: Task) -> None:
        keras.utils.set_random_seed(1)
        self.task = task
        self.model = build(task.pieces("src") + MARKS, task.pieces("tgt") + MARKS, task.size)
        self.model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD),
        )
        self.sources, self.targets = task.ids("train.src"), task.ids("train.tgt")

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        tables = [self.model.get_layer(name).count_params() for name in ("source_table", "target_table")]
        return {
            "version": keras.__version__,
            "parameters": int(self.model.count_params()),
            "tables": int(sum(tables)),
            "shape": {
                **{"attention": "additive", "attend": "after", "input_feeding": False},
                **{"embed": size.embed, "encoder_hidden": size.decoder // 2, "decoder_hidden": size.decoder},
                **{"layers": size.layers, "batches": "random"},
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        source = padded([[*(piece + MARKS for piece in self.sources[row]), END] for row in rows])
        whole = padded([[START, *(piece + MARKS for piece in self.targets[row]), END] for row in rows])
        target_in, target_out = np.where(whole == END, PAD, whole)[:, :-1], whole[:, 1:]
        self.model.train_on_batch([source, target_in], target_out)
        return int((target_out != PAD).sum())

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        raise NotImplementedError("Keras has no search for such a model")


def padded(rows: Sequence[Sequence[int]]) -> Any:
    """An array with zeros after each row's end."""
    return keras.utils.pad_sequences(rows, padding="post", value=PAD)


if __name__ == "__main__":
    serve(Keras)
