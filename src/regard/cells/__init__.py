"""Recurrent cells: one file each, one line here."""

from regard.cells.attentive import Attentive
from regard.cells.cell import Cell
from regard.cells.gru import GRU
from regard.cells.intra import LSTMN
from regard.cells.lstm import LSTM
from regard.cells.minimal import MinGRU, MinLSTM
from regard.cells.mlstm import MLSTM
from regard.cells.normed import LayerNormGRU, LayerNormLSTM
from regard.cells.projected import ProjectedLSTM
from regard.cells.rnn import RNN
from regard.cells.simple import SRU, SSRU
from regard.cells.slstm import SLSTM
from regard.cells.transition import DeepTransition
from regard.cells.zoneout import ZoneoutLSTM

CELLS: dict[str, type[Cell]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "layer_norm_lstm": LayerNormLSTM,
    "layer_norm_gru": LayerNormGRU,
    "projected_lstm": ProjectedLSTM,
    "zoneout_lstm": ZoneoutLSTM,
    "slstm": SLSTM,
    "mlstm": MLSTM,
    "deep_transition": DeepTransition,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "sru": SRU,
    "ssru": SSRU,
    "intra": LSTMN,
    "attentive": Attentive,
}
"""What `cell:` in a recipe may name."""
